"""Pictures of fleet runs, by matplotlib, without a screen."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from fairlead_simulator.fleet.results import FleetResult
from fairlead_simulator.plots import make_figure


def draw_fleet(path: Path, groups: Sequence[Sequence[FleetResult]]) -> None:
    """Draw goodput over the load, of all classes and of each, one line a policy; bars span the seeds."""
    classes = list(groups[0][0].figures.classes)
    panels = [None, *(classes if len(classes) > 1 else ())]
    figure = make_figure(len(panels), 1)
    by_policy: dict[str, list[Sequence[FleetResult]]] = {}
    for group in groups:
        by_policy.setdefault(group[0].policy, []).append(group)
    for axes, name in zip(figure.subplots(len(panels), 1, squeeze=False).flat, panels, strict=True):
        for policy, of_policy in by_policy.items():
            loads = [group[0].qps if group[0].load is None else group[0].load for group in of_policy]
            values = [[_goodput(result, name) for result in group] for group in of_policy]
            means = [fmean(each) for each in values]
            spans = [
                [mean - min(v) for mean, v in zip(means, values, strict=True)],
                [max(v) - mean for mean, v in zip(means, values, strict=True)],
            ]
            axes.errorbar(loads, means, yerr=spans, label=policy, marker="o", markersize=3, linewidth=1.0, capsize=2)
        axes.set_ylabel(f"goodput of {name}" if name else "goodput")
        axes.set_xlabel("requests per second" if groups[0][0].load is None else "rate / capacity")
        axes.set_ylim(0.0, 1.02)
        axes.legend(fontsize="small")
    figure.savefig(path)


def _goodput(result: FleetResult, service_class: str | None) -> float:
    figures = result.figures
    return (figures.goodput if service_class is None else figures.classes[service_class].goodput) or 0.0
