"""A locustfile with users that no row tells of: one whose task raises, and one of Locust's own that is refused."""

from locust import HttpUser, constant, task

from tokenswarm.users import ChatUser


class Chat(ChatUser):
    @task
    def explain(self) -> None:
        raise RuntimeError("out of words")


class Browser(HttpUser):
    wait_time = constant(0.2)

    @task
    def page(self) -> None:
        self.client.get("/no-such-page")
