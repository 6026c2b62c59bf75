"""Reading the fields of a command or a snapshot one after the other, never beyond the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from struct import Struct


class Cursor:
    """A place in some bytes. Whatever is wrong with them is a ValueError or a struct.error: whether that means a
    broken log or a broken checkpoint is the reader's to say."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    def take(self, layout: Struct) -> tuple[Any, ...]:
        """The fields of ``layout``, which begin here. Raises struct.error if they are cut."""
        fields = layout.unpack_from(self._data, self.position)
        self.position += layout.size
        return fields

    def raw(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises ValueError if there are fewer."""
        end = self.position + size
        if end > len(self._data):
            raise ValueError(f"cut: {size} bytes at {self.position} of {len(self._data)}")
        piece = self._data[self.position : end]
        self.position = end
        return piece

    def text(self, size: int) -> str:
        """The next ``size`` bytes, as UTF-8. Raises ValueError if they are not."""
        return self.raw(size).decode()

    def ended(self) -> None:
        """Raises ValueError if something is left."""
        if self.position != len(self._data):
            raise ValueError(f"{len(self._data) - self.position} bytes too many")


def flag(value: int) -> bool:
    """A bool that was written as one byte. Raises ValueError for any but 0 and 1: equal states have equal bytes."""
    if value > 1:
        raise ValueError(f"a flag of {value}")
    return value == 1
