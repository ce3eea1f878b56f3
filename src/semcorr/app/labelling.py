"""What the tab Label does: one folder of pictures, its labels, and the work on them.

The labels lie in the folder, in `STATE`: a COCO file that ``semcorr annotate --confirmed`` and other programs read.
While pictures are being labelled, a journal lies beside it, as for ``semcorr annotate``, so that nothing is lost if
the server is killed. One server at a time works on a folder: it holds a lock on `LOCK`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from semcorr.annotation.formats import read_labels
from semcorr.annotation.journal import Journal, fingerprint_of
from semcorr.annotation.labeller import Labeller
from semcorr.annotation.outputs import Output, write_outputs
from semcorr.annotation.pictures import Pictures, find_pictures
from semcorr.annotation.records import SURE, Annotation, Point, check_unique, names_of
from semcorr.annotation.run import Job, named_alike, plan
from semcorr.annotation.settings import Settings
from semcorr.app.guard import Refused
from semcorr.app.pictures import check_picture, clean_name
from semcorr.data.records import read_record
from semcorr.errors import DataError, SemcorrError
from semcorr.files import lock, one_line, write_bytes
from semcorr.geometry import Size
from semcorr.image import picture_size
from semcorr.models.matcher import Matcher

STATE = "semcorr-labels.json"
"""The file of a folder's labels, in the folder."""

LOCK = ".semcorr-labels.lock"
"""The file, in the folder, that the server which labels it has locked; it is empty."""

MOST = 500
"""Pictures that may be uploaded to one project."""

TOGETHER = threading.BoundedSemaphore(4)
"""Folders that are labelled at the same time; each has a thread of its own."""


@dataclass
class Work:
    """Labelling in progress, or the last that was.

    Attributes:
        running: Whether it goes on.
        done: Pictures labelled, those of an interrupted run included.
        total: Pictures to label.
        seconds_left: How long the rest takes at the present rate; None before the first picture.
        error: Why it stopped early; empty if it did not.
    """

    running: bool = False
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    error: str = ""


class Project:
    """A folder of pictures and their labels.

    Args:
        root: The folder; nothing outside it is read.
        title: What the page calls it.
        uploaded: Whether its pictures are uploaded to it.

    Raises:
        DataError: If the folder has no pictures, its `STATE` is broken, another server has opened it, or nothing can be
            written to it.
    """

    def __init__(self, root: Path, title: str, uploaded: bool = False) -> None:
        self.root, self.title, self.uploaded = root, title, uploaded
        self.state = root / STATE
        self.journal = root / f"{STATE}.progress"
        self.pictures: dict[str, Path] = {}
        self.labels: dict[str, Annotation] = {}
        self.work = Work()
        self._stop = threading.Event()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._locked: IO[bytes] | None = None
        if not uploaded:
            self._open()

    def _open(self) -> None:
        inside = self.root.resolve()
        found = find_pictures(self.root)
        if found.shards:
            raise DataError(f"{self.root} holds WebDataset shards: label them with `semcorr annotate`")
        self.pictures = {name: file for name, file in found.files if file.resolve().is_relative_to(inside)}
        self._locked = _lock(self.root)
        try:
            self._read_labels()
        except BaseException:
            self._locked.close()
            raise

    def _read_labels(self) -> None:
        if not self.state.exists():
            return
        read = read_labels(self.state, self.root, "coco")
        check_unique(read, str(self.state))
        self.labels = {one.picture: one for one in read if one.picture in self.pictures}
        unreadable = read_record(self.state).values.get("info")
        errors = unreadable.get("unreadable") if isinstance(unreadable, dict) else None
        for name, error in (errors if isinstance(errors, dict) else {}).items():
            if name in self.pictures:
                self.labels[name] = Annotation(name, None, error=str(error))

    def add_picture(self, name: str, content: bytes) -> str:
        """Keep an uploaded picture, and return the name that it has from now on.

        Raises:
            Refused: If the project takes no uploads, or the file is no picture.
        """
        if not self.uploaded:
            raise Refused(403, "pictures of a folder on the server's disk are not uploaded: copy them there")
        wanted = clean_name(name)
        check_picture(content, wanted)
        with self._lock:
            if len(self.pictures) >= MOST:
                raise Refused(413, f"a project takes {MOST} pictures: start semcorr app --folder PATH for more")
            free = next(n for n in _numbered(wanted) if n not in self.pictures and n != STATE)
            write_bytes(self.root / free, content)
            self.pictures[free] = self.root / free
        return free

    def file(self, picture: str) -> Path:
        """Return a picture's file.

        Raises:
            Refused: If the project has no picture of that name (404).
        """
        if picture not in self.pictures:
            raise Refused(404, f"no picture is called {picture[:80]!r}")
        return self.pictures[picture]

    def size(self, picture: str) -> Size:
        """Return a picture's height and width in pixels.

        Raises:
            Refused: If the project has no picture of that name (404).
            ImageError: If it cannot be read.
        """
        file, label = self.file(picture), self.labels.get(picture)
        return label.size if label is not None and label.size is not None else picture_size(file)

    def rename(self, old: str, new: str) -> None:
        """Give a point another name, in every picture.

        Raises:
            DataError: If a point of that name exists.
        """
        with self._lock:
            if new in names_of(self.labels.values()):
                raise DataError(f"there is a point called {new!r} already")
            for picture, label in self.labels.items():
                points = {new if name == old else name: point for name, point in label.points.items()}
                self.labels[picture] = replace(label, points=points)
            self._save()

    def order(self) -> list[str]:
        """Return the pictures' names: those to check, least certain first, then unlabelled, confirmed, broken ones."""

        def rank(name: str) -> tuple[int, float, str]:
            label = self.labels.get(name)
            if label is None or not label.points:
                return (3 if label is not None and label.error else 1), 0.0, name
            return (2, 0.0, name) if label.confirmed else (0, label.score, name)

        return sorted(self.pictures, key=rank)

    def set_points(self, picture: str, points: dict[str, Point], confirmed: bool) -> Annotation:
        """Replace a picture's labels by a person's.

        Points that were predicted (confidence below 1) become a person's when they are confirmed.

        Raises:
            DataError: If a point lies outside the picture.
        """
        size = self.size(picture)
        for name, point in points.items():
            if not (0 <= point.x <= size[1] and 0 <= point.y <= size[0]):
                raise DataError(f"point {name!r} lies outside the picture of {size[1]}×{size[0]} pixels")
        with self._lock:
            old = self.labels.get(picture)
            if confirmed:
                points = {name: _by_hand(point) for name, point in points.items()}
            label = replace(old or Annotation(picture, size), size=size, points=points, confirmed=confirmed, error="")
            self.labels[picture] = label
            self._save()
        return label

    def take(self, imported: Sequence[Annotation]) -> tuple[int, int]:
        """Take labels from a file; what is confirmed already stays as it is.

        Returns:
            How many pictures' labels were taken, and how many were not, because they are confirmed.

        Raises:
            DataError: If none of them is of a picture of this project, or a picture has several objects.
        """
        with self._lock:
            ours = [one for one in named_alike(imported, list(self.pictures)) if one.picture in self.pictures]
            if not ours:
                raise DataError("none of the labels is of a picture in this folder: the names of the files differ")
            check_unique(ours, "this page")
            new = [one for one in ours if not self._confirmed(one.picture)]
            for one in new:
                size = one.size or picture_size(self.pictures[one.picture])
                self.labels[one.picture] = replace(one, size=size)
            self._save()
        return len(new), len(ours) - len(new)

    def start(self, model: Callable[[], Matcher], settings: Settings) -> None:
        """Label every picture that is not confirmed, like the confirmed ones, in a thread.

        Raises:
            Refused: If it is at work already (409), no picture is confirmed (409), or too many folders are (503).
        """
        with self._lock:
            if self.work.running:
                raise Refused(409, "these pictures are being labelled already")
            if not any(one.confirmed and one.labelled for one in self.labels.values()):
                raise Refused(409, "mark and confirm the points of one picture first")
            if not TOGETHER.acquire(blocking=False):
                raise Refused(503, "too many folders are being labelled: try again when one of them is done")
            self._stop.clear()
            self.work = Work(running=True)
            self._thread = threading.Thread(target=self._run, args=(model, settings), daemon=True)
            self._thread.start()

    def stop(self, wait: float | None = None) -> None:
        """Stop labelling after the current picture; `start` resumes from there.

        Args:
            wait: How many seconds to wait for the end; None does not wait.
        """
        self._stop.set()
        if wait is not None and self._thread is not None:
            self._thread.join(wait)

    def close(self) -> None:
        """Stop labelling, and let other servers open the folder."""
        self.stop(wait=10)
        if self._locked is not None and not (self._thread is not None and self._thread.is_alive()):
            self._locked.close()

    def _run(self, model: Callable[[], Matcher], settings: Settings) -> None:
        try:
            self._label(model(), settings)
        except (SemcorrError, ValueError, OSError) as error:
            self.work.error = one_line(error)
        finally:
            self.work.running, self.work.seconds_left = False, None
            TOGETHER.release()

    def _label(self, model: Matcher, settings: Settings) -> None:
        with self._lock:
            confirmed = [one for one in self.labels.values() if one.confirmed]
            pictures = Pictures(self.root, list(self.pictures.items()))
        job = plan([], pictures, settings, confirmed)
        fingerprint = job.fingerprint(repr(model))
        with Journal(self.journal, fingerprint, fresh=fingerprint_of(self.journal) != fingerprint) as journal:
            for label in journal.done.values():
                self._predicted(label)
            self._go_through(job, model, journal)
        with self._lock:
            self._save()
        if not self._stop.is_set():
            self.journal.unlink()

    def _go_through(self, job: Job, model: Matcher, journal: Journal) -> None:
        left = [target for target in job.targets() if target.key not in journal.done]
        self.work.done, self.work.total = len(journal.done), len(journal.done) + len(left)
        start = time.monotonic()
        wanted = (target for target in left if not self._stop.is_set())
        for count, (target, label) in enumerate(Labeller(model, job.exemplars, job.settings).label(wanted), 1):
            journal.add(target.key, label)
            journal.save()
            self._predicted(label)
            self.work.done += 1
            self.work.seconds_left = (time.monotonic() - start) / count * (len(left) - count)

    def _predicted(self, label: Annotation) -> None:
        """Take a label that the model made, unless a person has labelled the picture since."""
        with self._lock:
            if not self._confirmed(label.picture):
                self.labels[label.picture] = label

    def _confirmed(self, picture: str) -> bool:
        return picture in self.labels and self.labels[picture].confirmed

    def _save(self) -> None:
        write_outputs([Output(self.state, "coco")], self.labelled(), self.root, overwrite=True)

    def labelled(self) -> list[Annotation]:
        """Return the labels of all pictures that have any, and what was wrong with broken ones, in their order."""
        with self._lock:
            return [self.labels[name] for name in self.pictures if name in self.labels]

    def to_json(self) -> dict[str, object]:
        """Return what the page shows of the project."""
        with self._lock:
            order = self.order()
            return {
                "title": self.title,
                "uploaded": self.uploaded,
                "names": names_of(self.labels.values()),
                "pictures": [self._summary(name) for name in order],
                "interrupted": self.journal.exists() and not self.work.running,
                "work": dict(vars(self.work)),
            }

    def _summary(self, name: str) -> dict[str, object]:
        label = self.labels.get(name)
        if label is None or not (label.points or label.error):
            return {"name": name, "state": "unlabelled", "score": None, "error": ""}
        state = "broken" if label.error else "confirmed" if label.confirmed else "labelled"
        return {"name": name, "state": state, "score": round(label.score, 4), "error": label.error}


def _lock(root: Path) -> IO[bytes]:
    try:
        return lock(root / LOCK)
    except BlockingIOError:
        raise DataError(
            f"{root} is open in another semcorr app: use that page, or end that program first (Ctrl+C)"
        ) from None
    except OSError as error:
        raise DataError(
            f"{root} cannot be labelled, since labels are saved in it: {LOCK}: {error.strerror}; copy the pictures to "
            "a folder of your own"
        ) from None


def _by_hand(point: Point) -> Point:
    if not point.v or point.confidence == 1:
        return point
    return replace(point, v=SURE, confidence=1.0, visibility=1.0)


def _numbered(name: str) -> list[str]:
    path = Path(name)
    return [name, *(f"{path.stem}-{i}{path.suffix}" for i in range(2, MOST + 3))]
