"""HTTP/1.1 without sockets: bytes in, events out, for requests and for answers.

The parser is llhttp (through httptools); what these modules add are the rules that it leaves to its user.
"""
