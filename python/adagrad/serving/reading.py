"""A model in either kind of file, as the commands that predict for logs need it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from adagrad.serving._description import description_of, is_export
from adagrad.tables.tensors import TableFileError

if TYPE_CHECKING:
    import pyarrow as pa

    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.training.state import Trained
    from adagrad.serving.scorer import Scorer

__all__ = ["Model", "read"]

StrPath = str | os.PathLike[str]


class Model(NamedTuple):
    """What predicts, and what a log needs for it.

    Attributes
    ----------
    predicts : ClickLearner or Scorer
    trained : Trained
    classes : list
        The negative and the positive class.
    extra : object
        What `adagrad.ctr.learners.files.read` returned; None for an export.
    """

    predicts: ClickLearner | Scorer
    trained: Trained
    classes: list[Any]
    extra: Any

    @property
    def has_columns(self) -> bool:
        """Whether it predicts for columns, not for ids."""
        return hasattr(self.trained.encoder, "fields_")


def read(path: StrPath) -> Model:
    """Read the file of a learner, or map an export.

    Raises
    ------
    adagrad.TableFileError
        The file is neither, or is damaged.
    ValueError
        The columns of the model are not known.
    OSError
        It cannot be read.
    """
    from adagrad.ctr.learners import files
    from adagrad.ctr.training.state import trained_with

    if is_export(path):
        return _of_export(path)
    estimator, extra = files.read(path)
    trained = trained_with(path, estimator, extra)
    return Model(estimator, trained, estimator.classes_.tolist(), extra)


def _of_export(path: StrPath) -> Model:
    import pyarrow as pa

    from adagrad.ctr.encoding.described import encoder_from
    from adagrad.ctr.logs.libsvm import FEATURES
    from adagrad.ctr.logs.multi import with_separators
    from adagrad.ctr.training.encoders import Encoder, SlotEncoder
    from adagrad.ctr.training.state import Trained
    from adagrad.serving.scorer import Scorer

    scorer, found = Scorer(path), description_of(path)
    encoder: Encoder
    try:
        if found["encoder"] is not None:
            columns = found["encoder"]["columns"]
            encoder = encoder_from(found["encoder"])
            features = pa.schema((column["name"], _type(column["type"])) for column in columns)
            features = with_separators(features, encoder.separators_)
        elif found["ids"] is not None:
            features = FEATURES
            encoder = SlotEncoder(found["n_slots"], hashes=found["ids"]["hashes"])
        else:
            raise ValueError("its model learned from Examples, so that it cannot read a log")
        return Model(scorer, Trained(found["label"], features, encoder), found["classes"], None)
    except KeyError as error:
        raise TableFileError(f"{path} is corrupted: its metadata: {error}") from error
    except (TypeError, ValueError) as error:
        raise TableFileError(f"{path}: {error}") from error


def _type(text: str) -> pa.DataType:
    """Return the type of a column, from what Arrow calls it."""
    import pyarrow as pa

    if nested := re.fullmatch(r"(large_)?list<(?:\w+: )?(.*)>", text):
        return (pa.large_list if nested[1] else pa.list_)(_type(nested[2]))
    if nested := re.fullmatch(r"map<(\w+), (\w+)(?: \('\w+'\))?>", text):
        return pa.map_(_type(nested[1]), _type(nested[2]))
    if moment := re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, tz=(.*))?\]", text):
        return pa.timestamp(moment[1], moment[2])
    plain = {"float": "float32", "double": "float64", "halffloat": "float16"}.get(text, text)
    try:
        return pa.type_for_alias(plain)
    except ValueError:
        raise ValueError(f"no reader of logs knows the type {text!r}") from None
