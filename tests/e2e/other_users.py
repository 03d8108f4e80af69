"""A locustfile with users that no row tells of: one whose task raises, and one of Locust's own that is refused."""

from locust import HttpUser, constant, task

from tokenswarm.users import ChatUser


def ask_and_raise(user: ChatUser) -> None:
    user.ask()
    raise RuntimeError("out of words")


class Chat(ChatUser):
    pass


Chat.tasks = [ask_and_raise]  # within the class it would stand beside the task of the base


class Browser(HttpUser):
    wait_time = constant(0.2)

    @task
    def page(self) -> None:
        self.client.get("/no-such-page")
