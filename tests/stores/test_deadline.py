"""Waits that end, whatever a driver would do."""

from __future__ import annotations

import contextvars
import gc
import os
import socket
import threading
import time
import warnings

import pytest

from wxnotify.stores import _deadline
from wxnotify.stores._deadline import Breaker, Calls, fileno_of


class Driver:
    """A driver's connection: it holds a socket somewhere."""

    def __init__(self, **holders):
        vars(self).update(holders)


class Transport:
    def __init__(self, one):
        self.one = one

    def get_extra_info(self, name):
        return {"socket": self.one}[name]


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


# --- fileno_of


@pytest.mark.parametrize(
    "hold",
    [
        lambda one: one,  # psycopg, psycopg2 and mysqlclient have fileno() themselves
        lambda one: Driver(_sock=one),  # PyMySQL
        lambda one: Driver(_transport=Transport(one), _sock=None),  # asyncpg, asyncmy
        lambda one: Driver(_writer=Transport(one)),  # aiomysql
    ],
)
def test_a_drivers_socket_is_found(pair, hold):
    assert fileno_of(hold(pair[0])) == pair[0].fileno()


@pytest.mark.parametrize("connection", [object(), Driver(_sock=None), Driver(_transport=Transport(None))])
def test_a_driver_without_a_socket_has_none(connection):
    assert fileno_of(connection) is None


def test_a_socket_that_is_closed_is_none():
    with socket.socket() as one:
        pass

    class Closed:
        def fileno(self):
            raise OSError

    assert fileno_of(Driver(_sock=one)) is None
    assert fileno_of(Closed()) is None


# --- Breaker


def test_a_breaker_ends_a_wait_at_its_deadline(pair):
    breaker = Breaker(pair[0])
    began = time.monotonic()
    breaker.arm(began + 0.2)
    assert pair[0].recv(1) == b""  # would wait for ever
    assert 0.15 < time.monotonic() - began < 2
    assert breaker.disarm()
    breaker.close()


def test_a_breaker_that_is_disarmed_in_time_does_nothing(pair):
    breaker = Breaker(pair[0])
    breaker.arm(time.monotonic() + 0.05)
    assert not breaker.disarm()
    time.sleep(0.15)
    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"
    breaker.close()


def test_an_earlier_deadline_than_those_before_is_kept(pair):
    late, early = Breaker(pair[0]), Breaker(pair[1])
    late.arm(time.monotonic() + 60)
    began = time.monotonic()
    early.arm(began + 0.1)
    assert pair[1].recv(1) == b""
    assert time.monotonic() - began < 2
    assert not late.disarm()


def test_a_breaker_without_a_socket_never_fires():
    breaker = Breaker(object())
    breaker.arm(time.monotonic() - 1)
    assert not breaker.disarm()
    breaker.fire()
    breaker.close()


def test_a_breaker_does_not_hit_a_stranger_with_the_same_number(pair):
    breaker = Breaker(pair[0])
    number = pair[0].fileno()
    pair[0].close()
    one, other = socket.socketpair()
    with one, other:
        assert number in (one.fileno(), other.fileno())
        breaker.fire()
        other.send(b"x")
        assert one.recv(1) == b"x"
    breaker.close()


def test_a_breaker_on_a_connection_the_other_side_closed_fires_without_an_error():
    one = socket.socket()
    breaker = Breaker(one)  # not connected
    breaker.fire()
    assert breaker.disarm()
    breaker.close()
    one.close()


def test_a_breaker_that_is_dropped_gives_its_descriptor_back(pair):
    breaker = Breaker(pair[0])
    descriptor = breaker._socket.fileno()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del breaker
        gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_watches_for_itself(pair):
    breaker = Breaker(pair[0])
    breaker.arm(time.monotonic() + 60)  # the parent's thread runs, and waits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point
        child = os.fork()
    if child == 0:
        one, _other = socket.socketpair()
        Breaker(one).arm(time.monotonic() + 0.05)
        one.settimeout(5)
        os._exit(0 if one.recv(1) == b"" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not breaker.disarm()


# --- Calls


def test_a_call_gives_what_it_returns_or_raises():
    calls = Calls(1)
    assert calls.call(lambda: 7, seconds=5, discard=pytest.fail) == 7
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 / 0, seconds=5, discard=pytest.fail)
    assert calls.call(lambda: 8, seconds=5, discard=pytest.fail) == 8


def test_a_call_has_its_callers_context():
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(3)
    assert Calls(1).call(variable.get, seconds=5, discard=pytest.fail) == 3


@pytest.mark.parametrize("ends_in", ["result", "error"])
def test_a_call_that_hangs_is_left_behind(ends_in):
    calls, go, discarded = Calls(1), threading.Event(), []

    def hang():
        go.wait(10)
        if ends_in == "error":
            raise OSError
        return "late"

    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer in time"):
        calls.call(hang, seconds=0.05, discard=discarded.append)
    with pytest.raises(TimeoutError, match="1 attempts before this one"):
        calls.call(hang, seconds=5, discard=discarded.append)
    assert time.monotonic() - began < 2
    go.set()
    for thread in threading.enumerate():
        if thread.name == "wxnotify-connecting":
            thread.join(10)
    assert discarded == (["late"] if ends_in == "result" else [])
    assert calls.call(lambda: 9, seconds=5, discard=pytest.fail) == 9  # its place is free again


def test_a_call_that_gets_no_thread_keeps_no_place(monkeypatch):
    calls = Calls(1)

    class NoThread:
        def __init__(self, **_):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_deadline.threading, "Thread", NoThread)
        with pytest.raises(RuntimeError):
            calls.call(lambda: 1, seconds=5, discard=pytest.fail)
    assert calls.call(lambda: 1, seconds=5, discard=pytest.fail) == 1
