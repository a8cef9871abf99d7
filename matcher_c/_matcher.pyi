"""What cffi makes of matcher.h, as far as matcher_c/__init__.py uses it."""

from collections.abc import Callable

class Pointer:
    def __getitem__(self, index: int) -> int: ...

class _FFI:
    NULL: Pointer
    def new(self, declaration: str, size: int = ...) -> Pointer: ...
    def new_allocator(self, *, should_clear_after_alloc: bool) -> Callable[[str, int], Pointer]: ...
    def unpack(self, pointer: Pointer, count: int) -> list[int]: ...
    def cast(self, declaration: str, value: Pointer) -> Pointer: ...
    def gc(self, value: Pointer, destructor: object, size: int) -> Pointer: ...
    def from_buffer(self, declaration: str, buffer: object, require_writable: bool = ...) -> Pointer: ...

class _Lib:
    free: object
    def calloc(self, count: int, size: int) -> Pointer: ...
    def energo_book_words(self, capacity: int, ticks: int) -> int: ...
    def energo_book_init(
        self, words: Pointer, capacity: int, lowest: int, ticks: int, key_low: int, key_high: int
    ) -> Pointer: ...
    def energo_book_run(
        self,
        book: Pointer,
        commands: Pointer,
        count: int,
        results: Pointer,
        room: int,
        quiet: int,
        consumed: Pointer,
    ) -> int: ...
    def energo_book_one(
        self,
        book: Pointer,
        order_id: int,
        price: int,
        quantity: int,
        owner: int,
        kind: int,
        side: int,
        flags: int,
        results: Pointer,
        room: int,
    ) -> int: ...
    def energo_book_height(self, book: Pointer) -> int: ...
    def energo_book_best(self, book: Pointer, side: int) -> int: ...
    def energo_book_live(self, book: Pointer) -> int: ...
    def energo_book_depth(
        self,
        book: Pointer,
        side: int,
        room: int,
        prices: Pointer,
        quantities: Pointer,
        orders: Pointer,
    ) -> int: ...
    def energo_book_dump(self, book: Pointer, commands: Pointer, room: int) -> int: ...
    def energo_clear_words(self, buses: int, orders: int) -> int: ...
    def energo_clear(
        self,
        workspace: Pointer,
        words: int,
        work: int,
        buses: int,
        parent: Pointer,
        fee: Pointer,
        capacity_up: Pointer,
        capacity_down: Pointer,
        rank: Pointer,
        orders: int,
        bus: Pointer,
        side: Pointer,
        limit: Pointer,
        quantity: Pointer,
        traded: Pointer,
        price: Pointer,
        flow: Pointer,
        where: Pointer,
    ) -> int: ...

ffi: _FFI
lib: _Lib
