"""Callers of a chat-completion deployment (Azure OpenAI, or any OpenAI-compatible server).

What they ask and how often is the scenario's: see scenarios/*.conf. To do more, add tasks: `self.client.call` sends a
request, `self.emit` records it.
"""

from tokenswarm.users import ChatUser


class ChatCompletions(ChatUser):
    request_name = "chat"
