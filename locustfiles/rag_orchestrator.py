"""Virtual testers of a RAG orchestrator (Azure GPT-RAG, v1 and v2+), with questions from scenarios/dataset.csv.

`conversation_id` is taken from each reply and sent with the next question, for turns-per-conversation turns.
"""

from tokenswarm.users import RagUser


class RagOrchestrator(RagUser):
    request_name = "orchestrator"
