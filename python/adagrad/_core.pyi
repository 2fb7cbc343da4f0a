from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__version__: str

# The metaclass that pybind11 gives its classes; it has no name to import.
class _PybindType(type): ...

class Hyperparameters(metaclass=_PybindType):
    def __init__(self, **fields: float | bool | str | None) -> None: ...
    def sums(self) -> Hyperparameters: ...

def isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> bool: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def set_sharing(name: str) -> None: ...
def set_sparse_grain(elements: int) -> int: ...
def compiler() -> str: ...
def check_params(params: Sequence[Any]) -> None: ...
def register_rules(
    rule_type: type,
    textbook: Hyperparameters,
    resolve: Callable[[Any, Any, Any, Any], tuple[Hyperparameters, float]],
    check_threads: Callable[[Any], int],
) -> None: ...
def step(
    w: object,
    g: object,
    s: object,
    lr: object,
    eps: object,
    rule: object,
    t: object,
    threads: object,
    /,
) -> int | None: ...
def step_many(
    tensors: Sequence[Any],
    rule: Hyperparameters | list[Hyperparameters],
    lrs: Sequence[float],
    numbers: Sequence[int] = [],
    threads: int = 0,
) -> int: ...
def tensor_triples(
    api: object,
    types: tuple[type, type],
    strided: object,
    params: list[Any],
    state: object,
    arrays: list[tuple[Any, Any, Any] | None],
    grads: list[Any],
) -> list[tuple[Any, Any, Any] | None]: ...
def step_rows(
    w: object,
    g: object,
    s: object,
    rows: object,
    rule: Hyperparameters,
    lr: float,
    duplicates: str | None = None,
    check_unique: bool = False,
    threads: int = 0,
) -> int: ...
def step_rows_of(
    w: object,
    g: object,
    s: object,
    rows: object,
    lr: object,
    duplicates: object,
    eps: object,
    rule: object,
    t: object,
    threads: object,
    check_unique: object,
    /,
) -> int | None: ...
def step_table(
    table: Table,
    rows: object,
    g: object,
    rule: Hyperparameters,
    lr: float,
    duplicates: object,
    check_unique: object,
    seed: int,
    steps: int,
    threads: int,
    /,
) -> int: ...
def coalesce(
    rows: npt.NDArray[np.integer[Any]], g: npt.NDArray[np.floating[Any]]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...
def bucket(
    rows: object, starts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...

class Table(metaclass=_PybindType):
    def __init__(
        self,
        memory: npt.NDArray[np.uint8],
        rows: int,
        dim: int,
        dtype: str,
        half_state: bool,
        row_state: bool,
        whole_pairs: bool,
        first_row: int = 0,
    ) -> None: ...
    def step(
        self,
        rows: object,
        g: object,
        rule: Hyperparameters,
        lr: float,
        duplicates: str | None,
        check_unique: bool,
        seed: int,
        steps: int,
        threads: int,
        positions: npt.NDArray[np.int64] | None = None,
    ) -> int: ...
    def check_step(
        self, n: int, g: object, rule: Hyperparameters, duplicates: str | None
    ) -> None: ...
    def step_pooled(
        self,
        rows: object,
        offsets: object,
        g: object,
        mean: bool,
        weights: object,
        rule: Hyperparameters,
        lr: float,
        duplicates: str | None,
        seed: int,
        steps: int,
        threads: int,
    ) -> int: ...
    def gather(self, rows: object, out: object, threads: int) -> npt.NDArray[Any]: ...
    def pool(
        self, rows: object, offsets: object, mean: bool, weights: object, threads: int
    ) -> npt.NDArray[Any]: ...
    def initialise(
        self, init: str, scale: float, seed: int, accumulator: float, threads: int
    ) -> None: ...
    def fade(self, gamma: float, floor: float, seed: int, steps: int, threads: int) -> None: ...

def check_bags(tables: Sequence[Table], rows: object, offsets: object) -> None: ...
def pool_tables(
    tables: Sequence[Table],
    rows: object,
    offsets: object,
    mean: bool,
    weights: object,
    threads: int,
) -> npt.NDArray[Any]: ...
def step_tables(
    tables: Sequence[Table],
    rows: object,
    offsets: object,
    g: object,
    mean: bool,
    weights: object,
    steps: Sequence[tuple[Hyperparameters, float, int, int]],
    threads: int,
) -> list[int]: ...
def check_examples(
    slots: object,
    bounds: object,
    n_slots: int,
    n_examples: int,
    values: object,
    fields: object,
    n_fields: int,
) -> None: ...
def compact(
    slots: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]: ...
def check_entries(
    slots: npt.NDArray[Any], values: npt.NDArray[Any], n_slots: int, threads: int
) -> bool | None: ...
def arrange(
    x: object, order: npt.NDArray[np.int64] | None, shared: bool, threads: int
) -> tuple[
    npt.NDArray[np.uint32] | None, npt.NDArray[np.float32] | None, npt.NDArray[np.uint32]
]: ...
def stored_margins(
    weights: npt.NDArray[np.float32], bias: float, x: object, threads: int
) -> npt.NDArray[np.float32]: ...

class Learner(metaclass=_PybindType):
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def learn(
        self,
        x: object,
        y: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32] | None,
        t: int,
        threads: int,
        beside: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]: ...
    def margins(self, x: object, threads: int) -> npt.NDArray[np.float32]: ...
    def margin_of_row(self, reader: RowReader, row: object) -> float | None: ...
    def check(self, x: object) -> None: ...

class LinearLearner(Learner):
    def __init__(
        self,
        table: object,
        slots: int,
        bias: object,
        rule: Hyperparameters,
        lr: float,
        lr_decay: float,
        penalties: tuple[float, float] | None,
    ) -> None: ...
    def apply(self, slots: npt.NDArray[np.uint32], g: npt.NDArray[np.float32], t: int) -> None: ...
    def weights(self, slots: npt.NDArray[np.uint32] | None = None) -> npt.NDArray[np.float32]: ...
    def rates(self, x: object, t: int, threads: int) -> npt.NDArray[np.float32]: ...

class MixtureLearner(metaclass=_PybindType):
    def __init__(
        self, table: object, slots: int, bias: object, state: object, half_life: float
    ) -> None: ...
    def learn(
        self,
        x: object,
        y: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32] | None,
        t: int,
        scaled: bool,
        mixes: bool,
        threads: int,
        mixed: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]: ...
    def margins(
        self, x: object, slope: float, offset: float, threads: int
    ) -> npt.NDArray[np.float32]: ...
    def margin_of_row(
        self, reader: RowReader, row: object, slope: float, offset: float
    ) -> float | None: ...
    def variances(self, x: object, threads: int) -> npt.NDArray[np.float32]: ...
    def weights(
        self, slope: float, offset: float, threads: int
    ) -> tuple[npt.NDArray[np.float32], float]: ...
    def check(self, x: object) -> None: ...

def tally(
    margins: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32] | None,
    sums: npt.NDArray[np.float64],
    bins: npt.NDArray[np.float64],
) -> None: ...
def mix_pairs(
    state: npt.NDArray[np.float64],
    linear: npt.NDArray[np.float32],
    guarded: npt.NDArray[np.float32],
    pairs: npt.NDArray[np.float32],
    has_bias: bool,
    y: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32] | None,
    half_life: float,
    learns: bool,
) -> npt.NDArray[np.float32]: ...
def probabilities(
    margins: npt.NDArray[np.float32], threads: int = 0
) -> npt.NDArray[np.float64]: ...
def probability(margin: float) -> float: ...

class RowReader(metaclass=_PybindType):
    def __init__(self, description: str) -> None: ...

class Scorer(metaclass=_PybindType):
    @overload
    def __init__(self, data: bytes) -> None: ...
    @overload
    def __init__(self, path: str) -> None: ...
    @property
    def version(self) -> str: ...
    @property
    def description(self) -> str: ...
    def predict_one(self, row: object) -> float | None: ...
    def weights(self, slots: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]: ...
    def margins(self, x: object, threads: int = 0) -> npt.NDArray[np.float32]: ...

class Hasher(metaclass=_PybindType):
    def __init__(
        self,
        columns: list[tuple[str, str, bool]],
        crosses: list[tuple[str, list[int], bool]],
        bits: int,
        seed: int,
        skip_missing: bool,
        mean: bool,
    ) -> None: ...
    def encode(
        self, batches: list[Any]
    ) -> tuple[
        npt.NDArray[np.uint32],
        npt.NDArray[np.uint16],
        npt.NDArray[np.uint32],
        npt.NDArray[np.float32] | None,
    ]: ...
    def hashes(
        self, batches: list[Any]
    ) -> list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]]: ...
    def homes(self) -> list[tuple[int, int, int]]: ...

class LineSplitter(metaclass=_PybindType):
    def __init__(
        self, width: int, delimiter: str, quotes: bool, columns: list[tuple[int, str]]
    ) -> None: ...
    def add(self, lines: Any, rows: int) -> bool: ...
    def take(self) -> list[list[Any]]: ...
    @property
    def rows(self) -> int: ...

class SparseSplitter(metaclass=_PybindType):
    def __init__(
        self, syntax: str, names: list[str], ignored: list[str], late: str, needs_label: bool
    ) -> None: ...
    def add(self, lines: Any) -> list[tuple[int, str, int, int]]: ...
    def take(self) -> dict[str, Any]: ...
    @property
    def rows(self) -> int: ...
    @property
    def names(self) -> list[bytes]: ...

class PageReader(metaclass=_PybindType):
    def __init__(self, kind: str, nullable: bool) -> None: ...
    def begin(self) -> None: ...
    def set_dictionary(self, data: Any, n: int) -> None: ...
    def set_page(self, data: Any, n: int, indexed: bool, levels: Any = None) -> None: ...
    def append(self, n: int) -> None: ...
    def take(self) -> list[Any]: ...
    def dictionary(self) -> list[Any]: ...
    @property
    def left(self) -> int: ...

def page_chunks(
    footer: Any,
) -> list[tuple[int, list[tuple[int, int, int, int, int, bool]]]] | None: ...
def page_header(
    data: Any, at: int
) -> tuple[int, int, int, int, int, int, int, int, int, bool, int | None] | None: ...
def xxh64(data: object, seed: int = 0) -> int: ...

class FMLearner(Learner):
    def __init__(
        self,
        table: object,
        slots: int,
        bias: object,
        factor_table: object,
        factors: int,
        normalize: bool,
        rule: Hyperparameters,
        lr: float,
        lr_decay: float,
        penalties: tuple[float, float] | None = None,
    ) -> None: ...

class FFMLearner(Learner):
    def __init__(
        self,
        tables: Sequence[object],
        slots: int,
        factors: int,
        part_of_field: Sequence[int],
        place_in_part: Sequence[int],
        table: object,
        bias: object,
        normalize: bool,
        rule: Hyperparameters,
        lr: float,
        lr_decay: float,
        penalties: tuple[float, float] | None = None,
    ) -> None: ...
