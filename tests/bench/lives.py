"""Lives of the whole appliance, one after the other: each is timed from its start to its end."""

from tests.bench.volumes import Content
from tests.bench.whole import FORMS, whole_appliance
from tests.bench.whole_figures import WholeFigures, whole_figures
from tests.bench.whole_memory import WholeMemory, measure_memory
from tests.bench.whole_times import LifeTimes, measure_recoveries, measure_start


def run_lives(
    root: str, provider_directory: str, content: Content, *, lives: int, idle_seconds: float, volumes: int
) -> dict[str, WholeFigures]:
    """Every form `lives` times, in turns; memory is measured in the first life of each.

    Only one appliance runs at any moment: two of them would share pages, and each other's processor.
    Raises BenchError.
    """
    memory: dict[str, WholeMemory] = {}
    times: dict[str, list[LifeTimes]] = {form: [] for form in FORMS}
    for number in range(lives):
        for form in FORMS:
            home = f"{root}/whole{number}{form[0]}"
            # Kubelet's loop ticks from its own start on: the appliance comes at another moment of it each time.
            delay = number / lives
            with whole_appliance(
                form, home, provider_directory, (content,), delay_seconds=delay
            ) as appliance:
                start = measure_start(appliance)
                if form not in memory:
                    memory[form] = measure_memory(
                        appliance, content, idle_seconds=idle_seconds, count=volumes
                    )
                times[form].append(
                    LifeTimes(
                        start=start,
                        recoveries=measure_recoveries(appliance),
                        stop_seconds=appliance.stop(),
                    )
                )
    return {form: whole_figures(memory[form], times[form]) for form in FORMS}
