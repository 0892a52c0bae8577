"""Forms with files: multipart/form-data (RFC 7578) of a body that is already in memory."""

from dataclasses import dataclass
from email.message import Message

from fairlead_engine.mock.errors import bad_request


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None where the field is no file."""

    data: bytes
    filename: str | None = None


def parse_form(content_type: str, body: bytes) -> dict[str, Part]:
    """Return the fields of a form by name, the last where one is repeated; RequestError (400) where it is no form."""
    boundary = _header("content-type", content_type).get_param("boundary")
    if not content_type.startswith("multipart/form-data") or not isinstance(boundary, str):
        raise bad_request(f"The body must be multipart/form-data with a boundary, not {content_type!r}.")
    # The first delimiter has no line end before it; with one, all are alike.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise bad_request("The form does not end with its boundary: the body is cut.")
    parts: dict[str, Part] = {}
    for piece in pieces[1:-1]:
        name, part = _part(piece)
        parts[name] = part
    return parts


def _part(piece: bytes) -> tuple[str, Part]:
    head, separator, data = piece.partition(b"\r\n\r\n")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            header = _header(field.strip(), value.strip())
            name = header.get_param("name", header="content-disposition")
            if isinstance(name, str) and separator:
                return name, Part(data, header.get_filename())
    raise bad_request("A part of the form has no name.")


def _header(name: str, value: str) -> Message:
    """Return a message with one header, whose parameters the standard library reads."""
    message = Message()
    message[name] = value
    return message
