"""When an API is left alone, and how it is taken up again: the rules, without clock and I/O.

One `HealthBook` stands for one API. Processes report what they saw of it (`News`) and are told how
it stands (`Standing`). Redis keeps the book of all processes (`coordination/api_health.lua` is
`HealthBook.report` line by line, and one suite compares the two); each process keeps one of its own
for what it sees itself, and for the time in which Redis is away.

* **Breaker.** Calls are counted by the second. Of the latest LATEST_SECONDS, or of as many more
  up to WINDOW_SECONDS as it takes to have enough calls, enough failed or were slow: *open*, nobody
  calls. So an outage is noticed in a second or two where traffic is dense, and single failures
  do nothing where it is not. After `open_seconds` *half open*: at most
  `probes` calls at once over all processes. When so many have ended they are judged as calls are:
  if enough of them went wrong it is open again, for twice as long up to a limit, else it closes.
  (If one were enough, an API that fails now and then would be shut for good.) A probe is leased for
  PROBE_SECONDS and the lease renewed while the call lasts, so that a process which dies with one
  blocks nothing. Each opening and each closing begins a new *episode*; what was seen in another one
  does not count any more.
* **Slow start.** After closing, `ramp` says which part of the slots and rates may be used.
* **Pace.** Each time the API refuses calls as too many, the pace is multiplied by CUT, at most
  once in CUT_APART_SECONDS; it rises by RISE_A_SECOND back to 1 (additive increase,
  multiplicative decrease: Chiu and Jain 1989). When none was refused for CALM_SECONDS the first
  cut is FIRST_CUT only: a call or two that the network held up say nothing of the limit, and where
  it has really fallen the next refusals are a second away.
* **Pause.** The API has said until when nobody should call.

All times are whole microseconds of one clock, all durations in the rules seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

WINDOW_SECONDS = 10
LATEST_SECONDS = 2  # this one and the one before
PROBE_SECONDS = 2.0
CUT = 0.7
FIRST_CUT = 0.98
CALM_SECONDS = 10.0
CUT_APART_SECONDS = 1.0
LOWEST_PACE = 0.05
RISE_A_SECOND = 0.02  # from the lowest to the full rate within 50 s
RAMP_FROM = 0.1
NEVER = 10**15
"""Microseconds since it was last closed, of one that never was open: any ramp is over."""
_SECOND = 1_000_000
_FORGET = 60 * _SECOND  # what a process reported last, when nothing has been heard of it since


class BreakerState(StrEnum):
    """Of one API."""

    CLOSED = "closed"  # calls go
    OPEN = "open"  # none goes
    HALF_OPEN = "half_open"  # a few go, to see how it is


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthRules:
    """When the breaker of an API opens, and for how long. Durations in seconds."""

    failure_rate: float = 0.5  # of the calls in the window
    slow_seconds: float | None = None  # a call that takes longer is slow; None: none is
    slow_rate: float = 0.8  # of the calls in the window
    calls: int = 20  # fewer in the window say nothing
    open_seconds: float = 5.0  # the first time; doubled each time a probe fails
    longest_open_seconds: float = 30.0
    probes: int = 3  # at once while half open, and so many judged together
    ramp_seconds: float = 10.0  # from a tenth to everything after closing
    longest_pause_seconds: float = 600.0  # a longer one that the API asks for is cut to this


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What one process has seen of an API since its last report, and what it wants."""

    episode: int = 0  # in which all of this was seen
    number: int = 0  # of this report; one that comes twice counts once. 0: always counts
    calls: int = 0  # that ended, probes aside
    failures: int = 0  # of these
    slow: int = 0  # of these
    retries: int = 0  # that were let out
    throttled: bool = False  # calls were refused as too many
    pause_seconds: float = 0.0  # the API wants no call for so long
    probes_held: int = 0  # under way
    probes_wanted: int = 0  # more of them
    probes_good: int = 0  # ended since the last report
    probes_bad: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How an API stands. Durations in seconds, from the moment of the report."""

    state: BreakerState = BreakerState.CLOSED
    episode: int = 0
    open_seconds: float = 0.0  # left
    pause_seconds: float = 0.0  # left
    probes: int = 0  # that the process may have under way, those it has included
    pace: float = 1.0  # part of the configured rate
    cuts: int = 0  # how often the pace was cut
    closed_for_seconds: float = NEVER / _SECOND  # since the breaker closed
    calls: int = 0  # of all processes in the window
    retries: int = 0
    generation: str = ""  # of the book; another one: it was lost and begun anew


HEALTHY = Health()


def ramp(closed_for_seconds: float, rules: HealthRules) -> float:
    """The part of slots and rates that may be used so long after the breaker closed."""
    if closed_for_seconds >= rules.ramp_seconds:
        return 1.0
    return RAMP_FROM + (1.0 - RAMP_FROM) * closed_for_seconds / rules.ramp_seconds


def risen(pace: float, seconds: float) -> float:
    """The pace so much later, when nothing cut it."""
    return min(1.0, pace + RISE_A_SECOND * seconds)


@dataclass(slots=True)
class _Second:
    calls: int = 0
    failures: int = 0
    slow: int = 0
    retries: int = 0


@dataclass(slots=True)
class _Reporter:
    """One process: its last report and the probes leased to it."""

    number: int
    probes: int
    heard_at: int


@dataclass(slots=True)
class HealthBook:
    """What is known of one API."""

    generation: str = ""
    state: BreakerState = BreakerState.CLOSED
    episode: int = 0
    until: int = 0  # while open
    opened: int = 0  # times in a row
    good: int = 0  # probes since it is half open
    bad: int = 0
    closed_at: int = -NEVER
    pace: float = 1.0
    pace_at: int = 0
    cuts: int = 0
    paused_until: int = 0
    _cut_at: int = -NEVER
    _refused_at: int = -NEVER
    _seconds: dict[int, _Second] = field(default_factory=dict)
    _reporters: dict[str, _Reporter] = field(default_factory=dict)

    def report(self, holder: str, news: News, rules: HealthRules, now: int) -> Health:
        """Take one process's news into account; how the API stands then, for this process."""
        self._pass_time(rules, now)
        reporter = self._reporters.get(holder)
        if not (reporter is not None and news.number and reporter.number == news.number):
            self._hear_advice(news, rules, now)
            if news.episode == self.episode:
                self._hear_calls(news, rules, now)
        probes = self._lease_probes(holder, news, rules, now)
        return Health(
            state=self.state, episode=self.episode, probes=probes, pace=self.pace, cuts=self.cuts,
            open_seconds=(self.until - now) / _SECOND if self.state is BreakerState.OPEN else 0.0,
            pause_seconds=max(self.paused_until - now, 0) / _SECOND,
            closed_for_seconds=min(now - self.closed_at, NEVER) / _SECOND,
            calls=sum(each.calls for each in self._seconds.values()),
            retries=sum(each.retries for each in self._seconds.values()),
            generation=self.generation,
        )  # fmt: skip

    def take_over(self, known: Health, now: int) -> None:
        """Go on from what another book said, which cannot be asked any more."""
        if known.state is not BreakerState.CLOSED and self.state is BreakerState.CLOSED:
            self.opened = max(self.opened, 1)
            self._begin(BreakerState.OPEN)
            self.until = now + us(known.open_seconds)
        self.paused_until = max(self.paused_until, now + us(known.pause_seconds))
        if known.pace < self.pace:
            self.pace, self.pace_at = known.pace, now

    def close(self) -> None:
        """Leave the breaker to another book; the window begins anew."""
        if self.state is not BreakerState.CLOSED:
            self._begin(BreakerState.CLOSED)
            self.opened = 0
        self._seconds.clear()

    # --- steps of a report ------------------------------------------------------------------------

    def _pass_time(self, rules: HealthRules, now: int) -> None:
        for second in [each for each in self._seconds if not _recent(each, now)]:
            del self._seconds[second]
        for name in [
            n for n, each in self._reporters.items() if abs(now - each.heard_at) > _FORGET
        ]:
            del self._reporters[name]
        # Where a clock was set back, what was left of each time is left of it still; what was over
        # is over, else an API of which all is well were shut until the clock is there again.
        back = max(self.pace_at - now, 0)
        self.until -= back
        self.paused_until -= back
        self.closed_at -= back
        self._cut_at -= back
        self._refused_at -= back
        # And it may not leave anything shut for longer than the rules say.
        self.until = min(self.until, now + us(rules.longest_open_seconds))
        self.paused_until = min(self.paused_until, now + us(rules.longest_pause_seconds))
        self.closed_at = min(self.closed_at, now)
        self.pace = risen(self.pace, max(now - self.pace_at, 0) / _SECOND)
        self.pace_at = now
        if self.state is BreakerState.OPEN and now >= self.until:
            self.state, self.good, self.bad = BreakerState.HALF_OPEN, 0, 0

    def _hear_advice(self, news: News, rules: HealthRules, now: int) -> None:
        pause = us(min(news.pause_seconds, rules.longest_pause_seconds))
        self.paused_until = max(self.paused_until, now + pause)
        if not news.throttled:
            return
        if now - self._cut_at >= us(CUT_APART_SECONDS):
            is_first = now - self._refused_at >= us(CALM_SECONDS)
            self.pace = max(LOWEST_PACE, self.pace * (FIRST_CUT if is_first else CUT))
            self._cut_at = now
            self.cuts += 1
        self._refused_at = now

    def _hear_calls(self, news: News, rules: HealthRules, now: int) -> None:
        second = self._seconds.setdefault(now // _SECOND, _Second())
        second.calls += news.calls
        second.failures += news.failures
        second.slow += news.slow
        second.retries += news.retries
        if self.state is BreakerState.CLOSED and self._is_ill(rules, now):
            self._open(rules, now)
        elif self.state is BreakerState.HALF_OPEN:
            self.good += news.probes_good
            self.bad += news.probes_bad
            if self.bad > 0 and self.bad >= rules.failure_rate * rules.probes:
                self._open(rules, now)
            elif self.good + self.bad >= rules.probes:
                self._begin(BreakerState.CLOSED)
                self.opened, self.closed_at = 0, now

    def _is_ill(self, rules: HealthRules, now: int) -> bool:
        calls = failures = slow = 0
        for age in range(WINDOW_SECONDS):
            second = self._seconds.get(now // _SECOND - age)
            if second is not None:
                calls += second.calls
                failures += second.failures
                slow += second.slow
            if age + 1 >= LATEST_SECONDS and calls >= rules.calls:
                failing = failures > 0 and failures >= rules.failure_rate * calls
                return failing or (slow > 0 and slow >= rules.slow_rate * calls)
        return False

    def _open(self, rules: HealthRules, now: int) -> None:
        self.opened = min(self.opened + 1, 32)
        seconds = rules.open_seconds * 2 ** (self.opened - 1)
        self._begin(BreakerState.OPEN)
        self.until = now + us(min(seconds, rules.longest_open_seconds))

    def _begin(self, state: BreakerState) -> None:
        self.state = state
        self.episode += 1
        self.good = self.bad = 0
        self._seconds.clear()
        for reporter in self._reporters.values():
            reporter.probes = 0

    def _lease_probes(self, holder: str, news: News, rules: HealthRules, now: int) -> int:
        """How many the holder may have under way. What it holds of another episode is not one."""
        probes = 0
        if self.state is BreakerState.HALF_OPEN:
            held = news.probes_held if news.episode == self.episode else 0
            elsewhere = sum(
                each.probes
                for name, each in self._reporters.items()
                if name != holder and abs(now - each.heard_at) < us(PROBE_SECONDS)
            )
            probes = held + min(news.probes_wanted, max(0, rules.probes - elsewhere - held))
        self._reporters[holder] = _Reporter(number=news.number, probes=probes, heard_at=now)
        return probes


def _recent(second: int, now: int) -> bool:
    """Within the window; a second to come was counted by a clock that has been set back."""
    return now // _SECOND - WINDOW_SECONDS < second <= now // _SECOND


def us(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * _SECOND)
