"""A locustfile with users that no row tells of: one whose task raises, and one of Locust's own that is refused."""

from locust import HttpUser, constant, task

from tokenswarm.users import ChatUser


def ask_and_raise(user: ChatUser) -> None:
    user.ask()
    raise RuntimeError("out of words")


class Chat(ChatUser):
    tasks = [ask_and_raise]  # noqa: RUF012 - as Locust has it


class Browser(HttpUser):
    wait_time = constant(0.2)

    @task
    def page(self) -> None:
        self.client.get("/no-such-page")
