"""What goes on behind the page: texts are read, the model is fitted again, and the next rows are chosen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from luthier.base.errors import LuthierError
from luthier.labelling.choose import doubtful, middles
from luthier.labelling.desk import Chosen, Desk, Labelled, Outlook, Reading
from luthier.labelling.estimate import Round, accuracy, next_round
from luthier.labelling.learner import Fit, fit, out_of_fold, probabilities
from luthier.labelling.vectors import Embed, VectorCache, from_words

log = logging.getLogger("luthier.labelling")

GROUPS = 20
GROUP: Chosen = "group"
DOUBT: Chosen = "doubt"
_AHEAD = 20
_REFIT_SHARE = 20
# Until it is measured: a weakly penalised fit on a few rows is surer than it is right.
_FIRST_TEMPERATURE = 2.0

OpenEmbedder = Callable[[], Embed]


@dataclass
class State:
    """Where the work stands on one kind of vectors; ``final`` says that no better ones will come, so rounds count."""

    vectors_ND: np.ndarray
    final: bool
    temperature: float = _FIRST_TEMPERATURE
    fitted: int = 0
    version: int = 0
    before_N: np.ndarray | None = None
    starts: list[int] = field(default_factory=list)


class Worker:
    """Two threads: one reads the texts with the encoder, one refits and chooses. Both end when the desk closes."""

    def __init__(self, desk: Desk, *, cache: VectorCache | None, open_embedder: OpenEmbedder | None) -> None:
        """Prepare the work; ``open_embedder`` None means words only."""
        self._desk, self._cache, self._open = desk, cache, open_embedder
        self._all = [*desk.items, *desk.known]
        self._embedded: np.ndarray | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"luthier-label-{name}", daemon=True)
            for name, work in (("learn", self._learn), ("read", self._read))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until both threads have ended; a library's threads that outlive the interpreter would abort it."""
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except LuthierError as error:
            self._problem(str(error))
        except Exception:  # People can go on labelling without suggestions; the log says what broke.
            log.exception("the work behind the labelling page failed")
            self._problem("suggestions have stopped because of a fault in Luthier; labels are kept as before")

    def _problem(self, words: str) -> None:
        if not self._desk.closed:
            known = "words" if self._open else "none"
            self._desk.note_reading(Reading(known, 0, len(self._all), words))

    def _read(self) -> None:
        """Compute the encoder's vectors, telling how far it is."""
        if self._open is None or self._cache is None or not self._all:
            return
        opened = self._open
        embedder: Embed | None = None

        def embed(texts: Sequence[str]) -> np.ndarray:
            nonlocal embedder
            embedder = embedder or opened()
            return embedder(texts)

        ids, texts = [item.id for item in self._all], [item.text for item in self._all]
        found = self._cache.fill(
            ids, texts, embed, watch=lambda done: self._desk.note_reading(Reading("words", done, len(ids)))
        )
        if found is not None:
            self._embedded = found
            self._desk.note_reading(Reading("embedded", len(ids), len(ids)))

    def _learn(self) -> None:
        """Fit and choose whenever enough was said since the last time, until the desk closes."""
        if len(self._all) < 3:
            return
        state = (
            self.begin(from_words([item.text for item in self._all]), final=self._open is None)
            if self._embedded is None
            else None
        )
        if self._open is None:
            self._desk.note_reading(Reading("words", len(self._all), len(self._all)))
        while not self._desk.closed:
            if self._embedded is not None and (state is None or state.vectors_ND is not self._embedded):
                state = self.begin(self._embedded, final=True)
            assert state is not None
            self.step(state)
            if not self._desk.await_change(state.version):
                return

    def begin(self, vectors_ND: np.ndarray, *, final: bool) -> State:
        """Start on vectors of all rows, those to ask about first, then those known before."""
        state = State(vectors_ND, final)
        asked = len(self._desk.items)
        state.starts = middles(vectors_ND[:asked], GROUPS)
        if self._desk.rounds:
            # The next round is compared with the model as it was at the end of the last one.
            ended = max(e["n"] for e in self._desk.store.events if e["kind"] == "round")
            then = self._fit(vectors_ND, self._desk.labelled(until=ended))
            state.before_N = then.predict(vectors_ND[:asked]) if then else None
        return state

    def step(self, state: State) -> None:
        """Fit again and choose the next rows, if enough was said since the last time."""
        said = self._desk.labelled()
        state.version = said.version
        new = abs(len(said.rows) - state.fitted)
        if state.fitted and new < max(1, len(said.rows) // _REFIT_SHARE):
            return
        state.fitted = len(said.rows)
        asked = len(self._desk.items)
        taken = np.array([number for number, _ in said.rows], dtype=int)
        free = np.setdiff1d(np.arange(asked), taken)
        model = self._fit(state.vectors_ND, said)
        if model is None:
            self._desk.publish(Outlook(queue=tuple(state.starts), chosen=GROUP))
            return
        scores_NC = probabilities(model.scores(state.vectors_ND), state.temperature).astype(np.float32)
        queue, chosen = state.starts, GROUP
        # Every group is met first; a row of theirs that was skipped or cannot be told must not hold the rest up.
        if not set(state.starts) - set(taken.tolist()) or len(said.rows) >= 2 * len(state.starts):
            learnt = np.concatenate([taken, np.arange(asked, len(self._all))])
            count = max(_AHEAD, len(said.rows) // 10)
            queue, chosen = doubtful(state.vectors_ND, scores_NC, free, learnt, count=count), DOUBT
        self._desk.publish(Outlook(model.classes, scores_NC[:asked], tuple(queue), chosen))
        if state.final:
            self._round(state, said, model, free)

    def _fit(self, vectors_ND: np.ndarray, said: Labelled) -> Fit | None:
        rows, labels = self._lessons(said)
        return fit(vectors_ND[rows], labels) if len(set(labels)) > 1 else None

    def _lessons(self, said: Labelled) -> tuple[list[int], list[str]]:
        asked = len(self._desk.items)
        known = [(asked + i, item.known) for i, item in enumerate(self._desk.known) if item.known is not None]
        pairs = [*said.rows, *known]
        return [number for number, _ in pairs], [label for _, label in pairs]

    def _round(self, state: State, said: Labelled, model: Fit, free: np.ndarray) -> None:
        """End a round where enough labels have come: how right, and how much did it change."""
        last = self._desk.rounds[-1].labelled if self._desk.rounds else 0
        if len(said.rows) < next_round(last) or not len(free):
            return
        rows, labels = self._lessons(said)
        vectors = state.vectors_ND
        found = out_of_fold(vectors[rows], labels, [self._all[i].id for i in rows])
        now_N = model.predict(vectors[: len(self._desk.items)])
        estimate = None
        if found is not None:
            state.temperature = found.temperature
            estimate = accuracy(
                [found.right_N[i] for i, (number, _) in enumerate(said.rows) if number in said.by_chance]
            )
        changed = float((now_N[free] != state.before_N[free]).mean()) if state.before_N is not None else None
        state.before_N = now_N
        self._desk.end_round(Round(len(said.rows), estimate, changed))
