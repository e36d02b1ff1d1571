"""The pieces of a body that wait for the application, joined once when it takes them.

uvicorn adds each to a bytearray and copies that; with clients that send chunks of 32 KiB, eight to a read, copying
would be a fifth of what a push costs.
"""


class Pieces:
    """Stands where uvicorn expects a bytearray: has a length, can be added to, and becomes bytes."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, first: bytes) -> None:
        self._pieces = [first]
        self._size = len(first)

    def append(self, piece: bytes) -> None:
        """Adds one."""
        self._pieces.append(piece)
        self._size += len(piece)

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
