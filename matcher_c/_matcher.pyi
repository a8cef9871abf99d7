"""What cffi makes of matcher.h, as far as matcher_c/__init__.py uses it."""

class _Pointer:
    def __getitem__(self, index: int) -> int: ...

class _FFI:
    NULL: _Pointer
    def new(self, declaration: str, size: int = ...) -> _Pointer: ...
    def from_buffer(self, declaration: str, buffer: object, require_writable: bool = ...) -> _Pointer: ...

class _Lib:
    def energo_book_words(self, capacity: int, ticks: int) -> int: ...
    def energo_book_init(
        self, words: _Pointer, capacity: int, lowest: int, ticks: int, key_low: int, key_high: int
    ) -> _Pointer: ...
    def energo_book_run(
        self,
        book: _Pointer,
        commands: _Pointer,
        count: int,
        results: _Pointer,
        room: int,
        quiet: int,
        consumed: _Pointer,
    ) -> int: ...
    def energo_book_live(self, book: _Pointer) -> int: ...
    def energo_book_depth(
        self,
        book: _Pointer,
        side: int,
        room: int,
        prices: _Pointer,
        quantities: _Pointer,
        orders: _Pointer,
    ) -> int: ...
    def energo_book_dump(self, book: _Pointer, commands: _Pointer, room: int) -> int: ...
    def energo_clear_words(self, buses: int, orders: int) -> int: ...
    def energo_clear(
        self,
        workspace: _Pointer,
        words: int,
        buses: int,
        parent: _Pointer,
        fee: _Pointer,
        capacity_up: _Pointer,
        capacity_down: _Pointer,
        rank: _Pointer,
        orders: int,
        bus: _Pointer,
        side: _Pointer,
        limit: _Pointer,
        quantity: _Pointer,
        traded: _Pointer,
        price: _Pointer,
        flow: _Pointer,
        where: _Pointer,
    ) -> int: ...

ffi: _FFI
lib: _Lib
