"""Both kinds of users in one run: three testers of the orchestrator for each direct caller of the deployment."""

from tokenswarm.users import ChatUser, RagUser


class DirectCaller(ChatUser):
    weight = 1
    request_name = "chat"


class Tester(RagUser):
    weight = 3
    request_name = "orchestrator"
