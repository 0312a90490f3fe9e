import threading

from app.jobs.gate import Gate


def test_many_are_inside_together() -> None:
    gate = Gate()
    together = threading.Barrier(3)

    def enter() -> None:
        with gate.shared():
            together.wait(10)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    together.wait(10)  # would break if one kept the other out
    for thread in threads:
        thread.join(10)


def test_one_alone_waits_for_the_others_and_holds_newcomers_back() -> None:
    gate = Gate()
    order: list[str] = []
    first_is_in, first_may_go = threading.Event(), threading.Event()
    alone_waits, alone_may_go = threading.Event(), threading.Event()

    def first() -> None:
        with gate.shared():
            first_is_in.set()
            first_may_go.wait(10)
            order.append("first")

    def alone() -> None:
        alone_waits.set()
        with gate.alone():
            alone_may_go.wait(10)
            order.append("alone")

    def newcomer() -> None:
        with gate.shared():
            order.append("newcomer")

    threads = [threading.Thread(target=target) for target in (first, alone, newcomer)]
    threads[0].start()
    assert first_is_in.wait(10)
    threads[1].start()
    assert alone_waits.wait(10)
    while not gate._waiting_alone:
        pass
    threads[2].start()
    assert order == []
    first_may_go.set()
    alone_may_go.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "alone", "newcomer"]


def test_an_error_inside_opens_the_gate_again() -> None:
    gate = Gate()
    for side in (gate.alone, gate.shared, gate.alone):
        try:
            with side():
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    with gate.alone():
        pass
