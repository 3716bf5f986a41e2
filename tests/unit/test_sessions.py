"""SessionManager against the simplest model there is."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from am2z.sessions import SessionManager

ids = st.sampled_from(["a", "b", "c"])
things = st.integers(0, 4)


class SessionsAgreeWithAModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.manager: SessionManager[int] = SessionManager()
        self.model: dict[str, list[int]] = {}

    @rule(session=ids)
    def create(self, session: str) -> None:
        self.manager.create_session(session)
        self.model.setdefault(session, [])

    @rule(session=ids, item=things)
    def add(self, session: str, item: int) -> None:
        self.manager.add_to_session(session, item)
        items = self.model.setdefault(session, [])
        if item not in items:
            items.append(item)

    @rule(session=ids, item=things)
    def remove(self, session: str, item: int) -> None:
        self.manager.remove_from_session(session, item)
        if item in self.model.get(session, []):
            self.model[session].remove(item)
            if not self.model[session]:
                del self.model[session]

    @rule(session=ids)
    def clean(self, session: str) -> None:
        self.manager.clean_session(session)
        self.model.pop(session, None)

    @rule()
    def clear(self) -> None:
        self.manager.clear()
        self.model.clear()

    @rule(session=ids)
    def what_it_answers_is_a_list_of_the_callers_own(self, session: str) -> None:
        self.manager.session_items(session).append(99)
        self.manager.active_sessions().append("z")

    @invariant()
    def both_agree(self) -> None:
        assert self.manager.active_sessions() == sorted(self.model)
        assert self.manager.session_count() == len(self.model)
        assert self.manager.total_item_count() == sum(map(len, self.model.values()))
        for session in "abc":
            items = self.model.get(session, [])
            assert self.manager.session_items(session) == items
            assert all(self.manager.has_in_session(session, n) == (n in items) for n in range(5))


SessionsAgreeWithAModel.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestSessionsAgreeWithAModel = SessionsAgreeWithAModel.TestCase


def test_a_created_session_stays_until_it_is_cleaned_though_it_holds_nothing() -> None:
    manager: SessionManager[str] = SessionManager()
    manager.create_session("s")
    manager.remove_from_session("s", "never there")
    assert manager.active_sessions() == ["s"]
    manager.clean_session("s")
    assert manager.session_count() == 0


def test_a_session_ends_with_its_last_item() -> None:
    manager: SessionManager[str] = SessionManager()
    manager.add_to_session("s", "queue")
    manager.add_to_session("s", "connection")
    manager.remove_from_session("s", "queue")
    assert manager.active_sessions() == ["s"]
    manager.remove_from_session("s", "connection")
    assert manager.active_sessions() == []
