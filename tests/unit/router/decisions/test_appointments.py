"""When those who are refused should come back, and that there is room for them then."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.appointments import GRACE_SECONDS, MOST_RETRY_AFTER_SECONDS, Appointments
from fairlead_router.decisions.types import Demand, RequestView

RATE = 1000.0
TOKENS = 900
"""At that rate, of which nine tenths are given away, one second's work."""


def request(name: str = "x", tenant: str = "", size: int = 10) -> RequestView:
    return RequestView(name, "m", "c", 0.0, prompt_bytes=size, tenant=tenant)


def demand(size: int = 10, tenant: str = "", tokens: int = TOKENS) -> Demand:
    return Demand(request(size=size, tenant=tenant), tokens - 100, 100, {})


class Book(Appointments):
    """Appointments at a rate that is known."""

    def refuse(self, size: int, now: float = 0.0, *, tenant: str = "", after: float = 0.0) -> int:
        return self.make(demand(size, tenant), RATE, now + after, now)

    def expected(self, until: float, now: float, *, tenant: str = "") -> float:
        return self.expected_tokens(request(tenant=tenant), RATE, until, now)


def kept(book: Book) -> Book:
    """Let it be known that all come back."""
    for number in range(400):
        at = -1000.0 + number
        book.keep(request(size=1000), at + book.refuse(1000, at))
    return book


def test_they_follow_one_another_as_fast_as_the_pool_works():
    book = Book()
    assert [book.refuse(size) for size in range(5)] == [1, 1, 2, 3, 4]


def test_nobody_is_told_to_come_before_there_is_a_chance_or_to_stay_away_for_ever():
    book = Book()
    assert book.refuse(1, after=2.5) == 3
    for size in range(100):
        assert book.refuse(size) <= MOST_RETRY_AFTER_SECONDS
    assert book.number < 40, "what lies beyond is not promised"


def test_where_the_rate_is_not_known_nothing_is_promised():
    book = Book()
    assert book.make(demand(), 0.0, 4.2, 0.0) == 5
    assert book.number == 0


def test_a_request_that_comes_when_it_was_told_to_is_known_once():
    book = Book()
    book.refuse(10)
    assert not book.keep(request(size=11), 1.0)
    assert book.keep(request("another id", size=10), 1.0)
    assert not book.keep(request(size=10), 1.0)


def test_requests_of_one_size_are_told_apart_by_their_fingerprints():
    book = Book()
    book.make(demand()._replace(request=request()._replace(fingerprint=1)), RATE, 0.0, 0.0)
    assert not book.keep(request()._replace(fingerprint=2), 1.0)
    assert book.keep(request()._replace(fingerprint=1), 1.0)


def test_an_appointment_is_of_one_tenant():
    book = Book()
    book.refuse(10, tenant="a")
    assert not book.keep(request(size=10, tenant="b"), 1.0)
    assert book.keep(request(size=10, tenant="a"), 1.0)


def test_who_comes_much_too_early_or_too_late_is_one_of_many():
    book = Book()
    for size in range(4):
        book.refuse(size)
    assert not book.keep(request(size=3), 1.0)
    assert book.keep(request(size=3), 3.0)
    assert not book.keep(request(size=0), 1.0 + GRACE_SECONDS + 0.1)


def test_who_never_comes_again_is_forgotten_when_anybody_comes():
    book = Book()
    book.refuse(1, tenant="once")
    assert not book.keep(request(tenant="another"), 20.0)
    assert book.number == 0


def test_nobody_is_expected_before_somebody_has_come():
    book = Book()
    for size in range(4):
        book.refuse(size)
    assert book.expected(10.0, 0.0) == 0.0


def test_where_all_come_back_all_are_expected():
    book = kept(Book())
    for size in range(4):
        book.refuse(size)
    assert book.expected(10.0, 0.0) > 0.99 * 4 * TOKENS
    assert 0.99 * TOKENS < book.expected(1.0, 0.0) <= TOKENS
    assert book.expected(10.0, 0.0, tenant="another") == 0.0


def test_where_nobody_comes_back_nobody_is_expected_any_more():
    book = kept(Book())
    for now in range(200):
        book.refuse(7, float(now))
    assert book.expected(300.0, 200.0) < 0.01 * TOKENS


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["refuse", "come", "look"]), st.integers(0, 3), st.sampled_from("ab"), st.floats(0, 3)
        ),
        max_size=60,
    )
)
def test_whatever_happens_books_are_balanced_and_nothing_is_left_in_the_end(history):
    book, now, promised, came = Book(), 0.0, 0, 0
    for what, size, tenant, seconds in history:
        now += seconds
        if what == "refuse":
            before = book.number
            assert 1 <= book.refuse(size, now, tenant=tenant) <= MOST_RETRY_AFTER_SECONDS
            promised += book.number - before
        elif what == "come":
            came += book.keep(request(size=size, tenant=tenant), now)
        assert book.expected(now + 10, now, tenant=tenant) >= 0.0
        assert 0.0 <= book._kept <= 1.0
        assert book.number == sum(len(each.slots) for each in book._books.values())
        for each in book._books.values():
            assert each.tokens == sum(slot.tokens for slot in each.slots if not slot.kept)
    assert came <= promised
    for tenant in "ab":
        book.expected(now + 1000, now + 1000, tenant=tenant)
    assert book.number == 0
    assert not book._books
