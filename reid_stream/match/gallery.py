"""Templates of all identities in one float32 matrix, so that one product compares a query with all (pure).

An identity has up to `exemplars` views, one per track: the quality-weighted mean of that track's raw vectors (float16;
raw, since the camera shifts of camera_bias.py change as they are learned). When there are more, the lighter one of the
two most similar views is dropped, so that good and different views remain. The row of an identity is the template of
all its views (scoring.py), in the space of the verification head, so that squared distances give the head's margins.

Free rows are reused; the matrix doubles when full, up to `max_identities` rows. After a camera's shift has changed,
rows are recomputed a few per update, so that no single update pays for all.

Letters: s rows in use, m views of an identity, t queries, d dimensions.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.match.camera_bias import CameraBias
from reid_stream.match.scoring import Template, mean_of
from reid_stream.match.view_similarity import ViewSimilarities, view_similarities
from reid_stream.records import CameraId, Floats, Ints

FAR = np.float32(1e9)
"""Squared distance to a free row."""
_STALE = 0.02
"""Change of a camera's shift (length) from which rows are recomputed; a cosine changes by about as much."""
_MAX_SIMILARITIES = 4096
"""Cached `ViewSimilarities` at most."""
_REFRESH = 24
"""Rows recomputed per update at most, and at once on restore."""
Halves = npt.NDArray[np.float16]


class Exemplar(msgspec.Struct, frozen=True):
    """One view of an identity, serialised."""

    vector: bytes
    """float16 (d,): mean of raw unit vectors."""
    quality: float
    """Weight: effective number of independent vectors, times their mean quality."""
    camera: str
    source: int
    """Serial of the track."""


class StaleRow(msgspec.Struct, frozen=True):
    """A row still to be recomputed, with its present value, which depends on when it was computed."""

    person: int
    vector: bytes
    """(d,) float32."""
    square: float
    views: list[tuple[bytes, float] | None]
    """Cached template (vector, square) of each view; None where it is not cached."""


class GalleryState(msgspec.Struct, frozen=True):
    """Layout of the matrix; together with the views it restores the gallery bit by bit."""

    rows: dict[int, int]
    """Row by identity, in insertion order."""
    free: list[int]
    used: int
    applied: dict[str, bytes]
    """Shift (d,) float32 in use, by camera."""
    stale: list[StaleRow]
    """Rows to recompute, the next one last."""


class _View:
    """Mean vector of one track of an identity."""

    __slots__ = ("camera", "raw", "source", "template", "weight")

    def __init__(self, raw: Halves, weight: float, camera: CameraId, source: int) -> None:
        self.raw, self.weight, self.camera, self.source = raw, weight, camera, source
        self.template: Template | None = None
        """Cached; None until needed and after the camera's shift has changed."""

    def exported(self) -> Exemplar:
        """Return the view, serialised."""
        return Exemplar(self.raw.tobytes(), self.weight, self.camera, self.source)


FrozenViews = dict[int, tuple[_View, ...]]
"""Views by identity."""


class Gallery:
    """Views and templates of identities, by number."""

    def __init__(self, exemplars: int, max_identities: int, fold: Callable[[Floats], list[Template]]) -> None:
        self._e = exemplars
        self._bound = max_identities
        self._fold = fold
        self._row: dict[int, int] = {}
        self._views: dict[int, list[_View]] = {}
        self._person: Ints = np.zeros(0, dtype=np.int64)
        self._free: list[int] = []
        self._used = 0
        self._matrix: Floats = np.zeros((0, 0), dtype=np.float32)
        self._square: Floats = np.zeros(0, dtype=np.float32)
        self._similarities: dict[int, ViewSimilarities] = {}
        """Cached by identity, until one of its views changes."""
        self._applied: dict[CameraId, Floats] = {}
        self._stale: list[int] = []
        self.bias = CameraBias({}, 0.0)
        """Shifts and scale in use."""

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, person: int) -> bool:
        return person in self._row

    @property
    def is_full(self) -> bool:
        """Whether no further identity fits."""
        return len(self._row) >= self._bound

    @property
    def nbytes(self) -> int:
        """Memory of the matrix and the views in bytes."""
        return self._matrix.nbytes + sum(view.raw.nbytes for views in self._views.values() for view in views)

    def people(self) -> Ints:
        """Return the identity of each row (s,), -1 for a free one; the columns of `distances`."""
        return self._person[: self._used]

    def row(self, person: int) -> int:
        """Return the row of an identity; -1 if it has no view."""
        return self._row.get(person, -1)

    def distances(self, queries: Sequence[Template]) -> Floats:
        """Return the squared distances (t, s) of templates to all rows; `FAR` for a free row."""
        if self._used == 0 or len(queries) == 0:
            return np.full((len(queries), self._used), FAR, dtype=np.float32)
        squared: Floats = np.stack([query.vector for query in queries]) @ self._matrix[: self._used].T
        # In place: with 10^5 identities each pass over a new array costs a fifth of the product.
        squared *= np.float32(-2)
        squared += self._square[: self._used]
        squared += np.asarray([[query.square] for query in queries], dtype=np.float32)
        np.maximum(squared, 0, out=squared)
        return squared

    def template(self, person: int, without: int | None = None) -> Template | None:
        """Return the template of an identity, optionally recomputed without one source; None if no view is left."""
        if without is None:
            row = self._row.get(person)
            return None if row is None else Template(self._matrix[row].copy(), float(self._square[row]))
        views = [view for view in self._views.get(person, ()) if view.source != without]
        return self._make(views) if views else None

    def template_of(self, person: int, sources: Collection[int]) -> Template | None:
        """Return the template of some sources of an identity; None if it has none of them."""
        views = [view for view in self._views.get(person, ()) if view.source in sources]
        return self._make(views) if views else None

    def similarities(self, person: int) -> ViewSimilarities | None:
        """Return the view similarities of an identity; None if it has no view."""
        found = self._similarities.get(person)
        if found is None and person in self._views:
            if len(self._similarities) >= _MAX_SIMILARITIES:
                self._similarities.clear()
            views = self._views[person]
            found = view_similarities(
                [view.source for view in views], [view.weight for view in views], self._templates(views)
            )
            self._similarities[person] = found
        return found

    def view(self, person: int, source: int) -> Template | None:
        """Return the template of one source of an identity; None if it has none."""
        for view in self._views.get(person, ()):
            if view.source == source:
                return self._make([view])
        return None

    def sources(self, person: int) -> list[int]:
        """Return the serials of the tracks of the views of an identity."""
        return [view.source for view in self._views.get(person, ())]

    def fold(self, raw: Floats, camera: CameraId) -> Template:
        """Return the template of the mean (d,) of raw vectors of a camera."""
        return self._fold_all([raw], [camera])[0]

    def _fold_all(self, raw: Sequence[Floats | Halves], cameras: Sequence[CameraId]) -> list[Template]:
        means = np.asarray(raw, dtype=np.float32)
        for row, camera in enumerate(cameras):
            shift = self._applied.get(camera)
            if shift is not None:
                means[row] -= shift
        return self._fold(means)

    def put(self, person: int, raw: Floats, weight: float, camera: CameraId, source: int) -> None:
        """Set the view of one source of an identity, added if it is new.

        Args:
            person: number of the identity.
            raw: (d,) mean of the source's raw unit vectors.
            weight: see `Exemplar.quality`.
            camera: of the source.
            source: serial of the track.

        Raises:
            ValueError: the gallery is full, or the vector has another dimension.
        """
        self._put(person, _View(raw.astype(np.float16), max(weight, 1e-3), camera, source))
        self._update_rows([person])

    def _put(self, person: int, fresh: _View) -> None:
        dim = len(fresh.raw)
        if self._matrix.shape[1] == 0:
            self._matrix = np.zeros((0, dim), dtype=np.float32)
        if dim != self._matrix.shape[1]:
            raise ValueError(f"vectors of one gallery must agree, got {dim} beside {self._matrix.shape[1]}")
        if person not in self._row:
            self._take_row(person)
        views = self._views[person]
        for index, view in enumerate(views):
            if view.source == fresh.source:
                views[index] = fresh
                break
        else:
            views.append(fresh)
            if len(views) > self._e:
                self._drop_one(views)

    def remove(self, person: int) -> None:
        """Remove an identity; no effect if it is unknown."""
        row = self._row.pop(person, None)
        if row is not None:
            del self._views[person]
            self._matrix[row] = 0
            self._square[row] = FAR
            self._person[row] = -1
            self._similarities.pop(person, None)
            self._free.append(row)

    def remove_source(self, person: int, source: int) -> None:
        """Remove the view of one source, and the identity with its last view."""
        views = self._views.get(person)
        if views is None:
            return
        views[:] = [view for view in views if view.source != source]
        if views:
            self._update_rows([person])
        else:
            self.remove(person)

    def move_source(self, gone: int, into: int, source: int) -> None:
        """Move the view of one source from `gone` to `into`."""
        for view in self._views.get(gone, ()):
            if view.source == source:
                self.remove_source(gone, source)
                self.put(into, view.raw.astype(np.float32), view.weight, view.camera, source)
                return

    def merge(self, gone: int, into: int) -> None:
        """Move all views of `gone` to `into` and remove `gone`."""
        for view in (views := self._views.get(gone, ())):
            self._put(into, _View(view.raw, view.weight, view.camera, view.source))
        self._update_rows([into] if views else [])
        self.remove(gone)

    def export(self, person: int) -> list[Exemplar]:
        """Return the views of an identity, serialised."""
        return [view.exported() for view in self._views.get(person, ())]

    def freeze(self) -> FrozenViews:
        """Return all views as of now without copying them: views are immutable."""
        return {person: tuple(views) for person, views in self._views.items()}

    def load(self, person: int, exemplars: Iterable[Exemplar]) -> None:
        """Add views as exported."""
        for exemplar in exemplars:
            raw = np.frombuffer(exemplar.vector, dtype=np.float16).astype(np.float32)
            self.put(person, raw, exemplar.quality, CameraId(exemplar.camera), exemplar.source)

    def state(self) -> GalleryState:
        """Return the layout of the matrix; the views come from `export`."""
        return GalleryState(
            rows=dict(self._row),
            free=list(self._free),
            used=self._used,
            applied={str(camera): shift.tobytes() for camera, shift in self._applied.items()},
            stale=[self._stale_row(person) for person in self._stale if person in self._row],
        )

    def restore(self, state: GalleryState, exemplars: Mapping[int, Sequence[Exemplar]], bias: CameraBias) -> None:
        """Restore all identities, each in the row it had."""
        self.bias = bias
        self._applied = {CameraId(c): np.frombuffer(s, dtype=np.float32).copy() for c, s in state.applied.items()}
        stale = {row.person: row for row in state.stale}
        dim = next((len(e.vector) // 2 for views in exemplars.values() for e in views), 0)
        self._used = state.used
        self._matrix = np.zeros((0, dim), dtype=np.float32)
        while len(self._person) < self._used:
            self._grow()
        for person, row in state.rows.items():
            self._row[person], self._person[row] = row, person
            self._views[person] = [
                _View(np.frombuffer(e.vector, dtype=np.float16), e.quality, CameraId(e.camera), e.source)
                for e in exemplars[person]
            ]
        fresh = [person for person in state.rows if person not in stale]
        for start in range(0, len(fresh), _REFRESH):
            self._update_rows(fresh[start : start + _REFRESH])
        for person, saved in stale.items():
            row = self._row[person]
            self._matrix[row], self._square[row] = np.frombuffer(saved.vector, dtype=np.float32), saved.square
            for view, kept in zip(self._views[person], saved.views, strict=True):
                view.template = kept and Template(np.frombuffer(kept[0], dtype=np.float32), kept[1])
        self._free, self._stale = list(state.free), list(stale)

    def _stale_row(self, person: int) -> StaleRow:
        row = self._row[person]
        made = [
            None if view.template is None else (view.template.vector.tobytes(), view.template.square)
            for view in self._views[person]
        ]
        return StaleRow(person, self._matrix[row].tobytes(), float(self._square[row]), made)

    def apply_bias(self, bias: CameraBias) -> None:
        """Adopt camera shifts that have changed by more than `_STALE`, and recompute up to `_REFRESH` stale rows."""
        if bias is not self.bias:
            self.bias = bias
            stale = [c for c, shift in bias.shifts.items() if self._is_stale(c, shift)]
            if stale:
                self._applied.update((camera, bias.shifts[camera]) for camera in stale)
                self._stale = list(self._row)
        popped = (self._stale.pop() for _ in range(min(_REFRESH, len(self._stale))))
        due = [person for person in popped if person in self._row]
        for person in due:
            for view in self._views[person]:
                view.template = None
        self._update_rows(due)

    def _is_stale(self, camera: CameraId, shift: Floats) -> bool:
        applied = self._applied.get(camera)
        return float(np.linalg.norm(shift if applied is None else shift - applied)) > _STALE

    def shift_of(self, camera: CameraId) -> Floats | None:
        """Return the shift (d,) in use for a camera; None for an unknown one."""
        return self._applied.get(camera)

    def _update_rows(self, people: Sequence[int]) -> None:
        # Templates of single views are not cached here: they would be most of the memory.
        made = iter(self._templates([view for person in people for view in self._views[person]], keeps=False))
        for person in people:
            self._similarities.pop(person, None)
            views, row = self._views[person], self._row[person]
            template = mean_of(list(islice(made, len(views))), [view.weight for view in views])
            self._matrix[row], self._square[row] = template.vector, template.square

    def _templates(self, views: Sequence[_View], *, keeps: bool = True) -> list[Template]:
        """Return the templates of views; those not cached are computed in one batch."""
        missing = [view for view in views if view.template is None]
        made = iter(self._fold_all([v.raw for v in missing], [v.camera for v in missing]) if missing else ())
        templates = [view.template or next(made) for view in views]
        if keeps:
            for view, template in zip(views, templates, strict=True):
                view.template = template
        return templates

    def _make(self, views: Sequence[_View]) -> Template:
        return mean_of(self._templates(views), [view.weight for view in views])

    def _drop_one(self, views: list[_View]) -> None:
        rows = np.stack([template.vector for template in self._templates(views)])
        among = rows @ rows.T
        np.fill_diagonal(among, -np.inf)
        a, b = divmod(int(np.argmax(among)), len(views))
        del views[a if views[a].weight < views[b].weight else b]

    def _take_row(self, person: int) -> None:
        if self.is_full:
            raise ValueError(f"the gallery must hold at most {self._bound} people, got one more")
        if self._free:
            row = self._free.pop()
        else:
            row = self._used
            self._used += 1
            if self._used > len(self._person):
                self._grow()
        self._row[person] = row
        self._views[person] = []
        self._person[row] = person

    def _grow(self) -> None:
        rows = min(self._bound, max(16, 2 * len(self._person)))
        matrix = np.zeros((rows, self._matrix.shape[1]), dtype=np.float32)
        matrix[: len(self._matrix)] = self._matrix
        more = rows - len(self._person)
        self._matrix = matrix
        self._person = np.concatenate([self._person, np.full(more, -1)])
        self._square = np.concatenate([self._square, np.full(more, FAR)])
