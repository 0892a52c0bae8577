"""Bodies of /tokenize and /detokenize."""

from fairlead_engine.mock.bodies.base import ModelBody, decode_tokens
from fairlead_engine.mock.bodies.conversation import Message, as_turns, render_chat
from fairlead_engine.mock.errors import bad_request


class TokenizeBody(ModelBody):
    """Body of POST /tokenize: a prompt, or the messages of a conversation."""

    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = False

    def text(self) -> str:
        """Return the text to tokenise."""
        if self.messages is not None:
            return render_chat(as_turns(self.messages))
        if self.prompt is None:
            raise bad_request("Either prompt or messages must be provided.", param="prompt")
        return self.prompt


class DetokenizeBody(ModelBody):
    """Body of POST /detokenize."""

    tokens: list[int]

    def text(self) -> str:
        """Return the text of the tokens; RequestError (400) where one is unknown."""
        return decode_tokens(self.tokens)
