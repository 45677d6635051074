"""The executor whose workers are plain processes of this machine: no more than pipes, and quick to start."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
from multiprocessing.connection import Connection, wait

from bench.execution import interpreter
from bench.execution.answer import GO_ON, STOP, Answer
from bench.execution.session import DIED, Session
from bench.machine import name as machine
from bench.search.budget import trials_per_device
from bench.search.job import Assignment
from bench.search.plan import Plan

TURN = 0.1
"""Seconds that the loop waits at most for a worker's word."""


class Processes:
    """Workers on this machine alone. They are kept from trial to trial, and killed at the end."""

    shared = False

    def slots(self, plan: Plan) -> int:
        return plan.slots

    def run(self, session: Session) -> None:
        workers: list[_Worker] = []
        try:
            while True:
                session.beat()
                _give_work(workers, session)
                for ready in wait([worker.pipe for worker in workers], timeout=TURN):
                    worker = next(worker for worker in workers if worker.pipe is ready)
                    if not worker.hear(session):
                        workers.remove(worker)
        finally:
            for worker in workers:
                worker.process.kill()
            session.left()
            for worker in workers:
                worker.close()


def _give_work(workers: list["_Worker"], session: Session) -> None:
    """Free workers get a trial; where none is free a new one starts."""
    while (assignment := session.next()) is not None:
        free = next((worker for worker in workers if worker.assignment is None), None)
        if free is not None:
            free.give(assignment)
        else:
            taken = {worker.place for worker in workers}
            place = next(place for place in itertools.count() if place not in taken)
            workers.append(_Worker(place, assignment, session))


class _Worker:
    """The driver's end of a worker that sits at a `place`, its slot's number."""

    def __init__(self, place: int, assignment: Assignment, session: Session) -> None:
        self.place = place
        self.assignment: Assignment | None = assignment
        experiment = session.plan.experiment
        ours, its = socket.socketpair()
        with its:
            self.process = subprocess.Popen(
                interpreter.module("bench.execution.worker", str(its.fileno())),
                env=interpreter.environment() | _device(place, session.plan),
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.pipe = Connection(ours.detach())
        start = {
            "factory": experiment.factory,
            "settings": experiment.settings.to_json(),
            "run_dir": str(session.run_dir),
            "driver": machine(),
            "first": json.dumps(assignment.to_json()),
        }
        self._tell(json.dumps(start))

    def give(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._tell(json.dumps(assignment.to_json()))

    def hear(self, session: Session) -> bool:
        """Pass on what it tells; whether it lives."""
        died = DIED
        try:
            kind, content = json.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            kind = "error"
        else:
            died = f"its worker ended with {content[:300]}"
        assignment = self.assignment
        if kind == "error":
            self.close()
            if assignment is not None:
                session.ended(assignment, died)
            return False
        assert assignment is not None
        if kind == "started":
            session.started(assignment)
        else:
            goes_on = session.answered(assignment, Answer.from_json(json.loads(content)))
            self._tell(GO_ON if goes_on else STOP)
            if not goes_on:
                self.assignment = None
                session.ended(assignment)
        return True

    def _tell(self, text: str) -> None:
        with contextlib.suppress(OSError):  # it has died, which is heard next
            self.pipe.send_bytes(text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def _device(place: int, plan: Plan) -> dict[str, str]:
    """The environment in which a worker sees the GPU of its place alone; on CPUs as it is."""
    if plan.budget.device == "cpu":
        return {}
    device = place // trials_per_device(plan.rate)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[device] if visible else str(device)}
