"""Processors: named async functions from a state to a new state, with how to run them."""

from __future__ import annotations

import dis
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from am2z.errors import ConfigurationError
from am2z.ids import check_name
from am2z.policy import QueueOptions, RetryPolicy, check_duration
from am2z.result import Failure, ProcessorResult, Success
from am2z.state import AppState

if TYPE_CHECKING:
    from am2z.context import Context

__all__ = ["Processor", "ProcessorBuilder", "create_processor", "processor"]

S = TypeVar("S", bound=AppState)

Answer: TypeAlias = "S | Success[S] | Failure[S] | ProcessorResult[S]"
ProcessorFunction: TypeAlias = Callable[[S, "Context"], "Awaitable[Answer[S]] | Answer[S]"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Processor(Generic[S]):
    """A processor's definition. Make one with ``@processor`` or ``create_processor``.

    Calling it runs the bare function, which is handy in a unit test:
    ``await price(Order(), ctx)``. ``timeout`` is in seconds for each attempt (``None``: the
    runtime's ``default_timeout``). ``interruptible`` is false for an ``async def`` without any
    ``await``: nothing, no timeout either, can stop such a function half-way.
    """

    name: str
    fn: ProcessorFunction[S]
    state_type: type[S]
    description: str = ""
    timeout: float | None = None
    retry: RetryPolicy | None = None
    queue: QueueOptions = field(default_factory=QueueOptions)
    dependencies: tuple[Processor[Any] | str, ...] = ()
    in_thread: bool = False
    interruptible: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interruptible", _can_be_suspended(self.fn))
        check_name(self.name, "processor")
        if not callable(self.fn):
            raise ConfigurationError(f"processor {self.name!r}: {self.fn!r} is not a function")
        if self.timeout is not None:
            check_duration(f"the timeout of processor {self.name!r}", self.timeout)
        if self.retry is not None:
            _check_option(self.name, "retry", self.retry, RetryPolicy)
        _check_option(self.name, "queue", self.queue, QueueOptions)
        if not (isinstance(self.state_type, type) and issubclass(self.state_type, AppState)):
            raise ConfigurationError(
                f"processor {self.name!r}: state_type is {self.state_type!r}; "
                "give a subclass of AppState"
            )

    def __call__(self, state: S, ctx: Context) -> Awaitable[Answer[S]] | Answer[S]:
        return self.fn(state, ctx)


@overload
def processor(fn: ProcessorFunction[S], /) -> Processor[S]: ...
@overload
def processor(
    *,
    name: str | None = None,
    description: str = "",
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
    dependencies: Iterable[Processor[Any] | str] = (),
    state_type: type[AppState] | None = None,
) -> Callable[[ProcessorFunction[S]], Processor[S]]: ...
def processor(
    fn: ProcessorFunction[Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str = "",
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
    dependencies: Iterable[Processor[Any] | str] = (),
    state_type: type[AppState] | None = None,
) -> Any:
    """Turn a function into a processor.

    The state's type is read from the annotation of the first parameter. ``name`` defaults to the
    function's. ``timeout`` is in seconds for each attempt. ``dependencies`` are registered along.
    An ``async def`` runs on the event loop; a plain ``def`` runs in a worker thread.

    Raises ``ConfigurationError`` where the annotation is missing or an option makes no sense. ::

        @processor(timeout=5.0, retry=RetryPolicy(max_attempts=4))
        async def price(state: Order, ctx: Context) -> Order:
            return state.evolve(total=49.0 * len(state.items))
    """
    names_at_call = sys._getframe(1).f_locals  # noqa: SLF001 - annotations may name local classes

    def define(fn: ProcessorFunction[Any]) -> Processor[Any]:
        title = name if name is not None else getattr(fn, "__name__", "")
        return Processor(
            name=title,
            fn=fn,
            state_type=state_type or _annotated_state(fn, title, names_at_call),
            description=description or inspect.getdoc(fn) or "",
            timeout=timeout,
            retry=retry,
            queue=queue or QueueOptions(),
            dependencies=tuple(dependencies),
            in_thread=not _is_async(fn),
        )

    return define if fn is None else define(fn)


class ProcessorBuilder:
    """A processor in the making; ``create_processor(name)`` starts one, ``process(fn)`` ends it."""

    def __init__(self, name: str) -> None:
        self._options: dict[str, Any] = {"name": name}

    def with_description(self, description: str) -> ProcessorBuilder:
        """What the processor is for, in words."""
        return self._with(description=description)

    def with_timeout(self, timeout: float) -> ProcessorBuilder:
        """Seconds that each attempt may take."""
        return self._with(timeout=timeout)

    def with_retry_policy(
        self, policy: RetryPolicy | None = None, /, **fields: Any
    ) -> ProcessorBuilder:
        """How often a failure is tried again: a ``RetryPolicy``, or its fields."""
        return self._with(retry=policy if policy is not None else RetryPolicy(**fields))

    def with_queue_options(
        self, options: QueueOptions | None = None, /, **fields: Any
    ) -> ProcessorBuilder:
        """How the processor shares its worker: ``QueueOptions``, or its fields."""
        return self._with(queue=options if options is not None else QueueOptions(**fields))

    def with_dependencies(self, *dependencies: Processor[Any] | str) -> ProcessorBuilder:
        """Processors that are registered along with this one."""
        return self._with(dependencies=dependencies)

    def with_state_type(self, state_type: type[AppState]) -> ProcessorBuilder:
        """The state's type, for a function whose annotation does not say it."""
        return self._with(state_type=state_type)

    def process(self, fn: ProcessorFunction[S]) -> Processor[S]:
        """The finished processor around ``fn``; raises ``ConfigurationError`` as ``@processor``."""
        options = dict(self._options)
        if "state_type" not in options:
            names = sys._getframe(1).f_locals  # noqa: SLF001 - as in processor()
            options["state_type"] = _annotated_state(fn, options["name"], names)
        return typing.cast("Processor[S]", processor(**options)(fn))

    def _with(self, **options: Any) -> ProcessorBuilder:
        new = ProcessorBuilder(self._options["name"])
        new._options = {**self._options, **options}
        return new


def create_processor(name: str) -> ProcessorBuilder:
    """Start to build a processor step by step.

    Example: ``create_processor("price").with_timeout(5.0).process(price_order)``.
    """
    return ProcessorBuilder(name)


def _check_option(name: str, option: str, value: object, cls: type) -> None:
    if not isinstance(value, cls):
        raise ConfigurationError(
            f"processor {name!r}: {option} is {value!r}; give a {cls.__name__}(...)"
        )


def _is_async(fn: Callable[..., Any]) -> bool:
    call = getattr(fn, "__call__", None)  # noqa: B004 - the method itself is wanted
    # A decorator may have put a function of either kind around one of the other.
    return any(map(inspect.iscoroutinefunction, (fn, inspect.unwrap(fn), call)))


def _can_be_suspended(fn: Callable[..., Any]) -> bool:
    """False for what provably runs from its start to its end without giving way to other tasks.

    That is what its bytecode says: an ``async def`` is suspended where it yields, and every
    ``await`` contains a yield. Whatever has no bytecode, or other bytecode, counts as suspended.
    """
    if not isinstance(fn, FunctionType):
        return True
    operations = {instruction.opname for instruction in dis.get_instructions(fn)}
    return "RETURN_GENERATOR" not in operations or "YIELD_VALUE" in operations


def _annotated_state(
    fn: Callable[..., Any], name: str, names_at_call: dict[str, Any]
) -> type[AppState]:
    """The state's type from the annotation of the first parameter."""
    advice = (
        f"processor {name!r}: annotate its first parameter with the state's type, as in "
        "`async def f(state: MyState, ctx: Context) -> MyState`"
    )
    target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004 - as above
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"processor {name!r}: {fn!r} is not a function") from error
    if len(parameters) < 2:
        raise ConfigurationError(f"{advice}; it takes {len(parameters)} parameters instead of two")
    annotation = parameters[0].annotation
    if isinstance(annotation, str):
        annotation = _evaluate(annotation, target, names_at_call, advice)
    if isinstance(annotation, TypeVar):
        annotation = annotation.__bound__ or annotation
    if isinstance(annotation, type) and issubclass(annotation, AppState):
        return annotation
    if annotation is inspect.Parameter.empty:
        raise ConfigurationError(advice)
    raise ConfigurationError(f"{advice}; {annotation!r} is not a subclass of AppState")


def _evaluate(
    annotation: str, fn: Callable[..., Any], names_at_call: dict[str, Any], advice: str
) -> Any:
    """What an annotation that is still text means where the function was defined."""
    scope = {**getattr(inspect.unwrap(fn), "__globals__", {}), **names_at_call}
    try:
        return eval(annotation, scope)  # noqa: S307 - the program's own source, as get_type_hints
    except NameError as error:
        raise ConfigurationError(f"{advice}; {error} (import it at run time as well)") from error
    except Exception as error:
        raise ConfigurationError(f"{advice}; {annotation!r} means nothing: {error}") from error
