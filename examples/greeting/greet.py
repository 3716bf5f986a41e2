"""One processor on two runtimes: in this process, and through a queue."""

import trio

from am2z import AppState, Context, LocalRuntime, QueueRuntime, processor


class Greeting(AppState):
    name: str
    text: str = ""


@processor
async def greet(state: Greeting, ctx: Context) -> Greeting:
    return state.evolve(text=f"Hello {state.name}!")


async def main() -> None:
    for runtime in (LocalRuntime(), QueueRuntime("fake://")):
        async with runtime.register(greet):
            result = await runtime.execute(greet, Greeting(name="Ada"))
            print(type(runtime).__name__, "says", result.unwrap().text)


if __name__ == "__main__":
    trio.run(main)
