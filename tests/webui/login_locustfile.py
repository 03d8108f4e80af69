"""A locustfile whose web UI asks for a login, in the way that Locust's documentation shows."""

from locust import events

from typing import Any

from flask import Blueprint, redirect, request, session
from flask_login import UserMixin, login_user

from tokenswarm.users import ChatUser


class Person(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


class ChatCompletions(ChatUser):
    request_name = "chat"


@events.init.add_listener
def add_login(environment: Any, web_ui: Any, **_: Any) -> None:
    if web_ui is None or not environment.parsed_options.web_login:
        return
    base = environment.parsed_options.web_base_path
    web_ui.app.secret_key = "only a test"
    web_ui.login_manager.user_loader(Person)
    web_ui.auth_args = {"username_password_callback": f"{base}/enter"}
    routes = Blueprint("login", __name__, url_prefix=base or None)

    @routes.route("/enter", methods=["POST"])
    def enter() -> Any:
        if request.form["username"] == "tester" and request.form["password"] == "secret":
            login_user(Person("tester"))
            return redirect(f"{base}/llm")
        session["auth_error"] = "wrong name or password"
        return redirect(f"{base}/login")

    web_ui.app.register_blueprint(routes)
