"""Finding config files and recipes, following ``base:``, overriding, validating."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dynaip.config.ablation import AblationConfig
from dynaip.config.experiment import ExperimentConfig
from dynaip.config.explain import Together, explained
from dynaip.config.merge import merge, overridden, override, parse_override
from dynaip.config.yaml_text import Located, read
from dynaip.errors import ConfigError, InputError
from dynaip.paths import at_home, missing
from dynaip.plain import name_from
from dynaip.registry import registry
from dynaip.suggest import did_you_mean, nearest

RECIPES = Path(__file__).parents[1] / "recipes"
_ABLATION_KEYS = frozenset(AblationConfig.model_fields) - frozenset(ExperimentConfig.model_fields) - {"base"}


def recipes() -> dict[str, Path]:
    """Name -> file of the configs that ship, e.g. ``microworld/demo``."""
    files = sorted(RECIPES.glob("**/*.yaml"))
    return {file.relative_to(RECIPES).with_suffix("").as_posix(): file for file in files}


def config_file(name: str | Path, *, beside: Path | None = None) -> Path:
    """Find a config: a file (relative to ``beside`` first) or a recipe; ``ConfigError`` lists what there is."""
    given = at_home(name)
    for candidate in ([beside / given] if beside else []) + [given]:
        if candidate.is_file():
            return candidate.resolve()
    if str(name) in recipes():
        return recipes()[str(name)]
    known = recipes()
    hint = did_you_mean(str(name), known) or missing((beside or Path()) / given)
    raise ConfigError(f"{name}: neither a config file nor a recipe.{hint} Recipes: {', '.join(known)}.")


def load_experiment(
    name: str | Path, overrides: Sequence[str] = (), plugins: Iterable[str | Path] = ()
) -> ExperimentConfig:
    """Load an experiment from a file or recipe, ``-s`` overrides on top; ``InputError`` in one line if it is wrong."""
    file = config_file(name)
    raw = overridden(_chain(file), overrides)
    if _is_ablation(raw):
        raise ConfigError(f"{_origin(file)} is an ablation, not an experiment: run it with dynaip ablate")
    return _experiment(raw, file, plugins)


def load_saved(file: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Load the ``config.yaml`` of a run, which may be a stranger's: plugin files that it names are never run.

    ``InputError`` in one line if it is wrong, or names the ``--plugin`` that is needed and was not given.
    """
    raw = _chain(file)
    loaded = {each.plugin for each in registry().components()} | {each.stem for each in registry().files}
    needed = [str(each) for each in raw.pop("plugins", ()) if Path(each).stem not in loaded]
    if needed:
        asked = " ".join(f"--plugin {shlex.quote(each)}" for each in needed)
        raise ConfigError(
            f"{file} names plugin files, and code of a run is not run unasked: read them, then add {asked}"
        )
    try:
        return _experiment(overridden(raw, overrides), file, ())
    except InputError as error:
        if overrides or len(error.complaints) < 2:  # what the user wrote is told in full
            raise
        first, *others = str(error).split("\n")
        raise ConfigError(f"{first} (and {len(others)} more: the file is damaged)") from error


def load_ablation(
    name: str | Path, overrides: Sequence[str] = (), plugins: Iterable[str | Path] = ()
) -> AblationConfig:
    """Load an ablation from a file or recipe and validate every arm; ``InputError`` in one line if it is wrong.

    Overrides of an experiment's keys (``-s training.steps=10``) change the base.
    """
    file = config_file(name)
    raw = _chain(file)
    if not _is_ablation(raw):
        raise ConfigError(f"{_origin(file)} is an experiment, not an ablation: it has neither axes nor arms")
    return _ablation(_override_ablation(raw, overrides, file), file, plugins)


def load_any(
    name: str | Path, overrides: Sequence[str] = (), plugins: Iterable[str | Path] = ()
) -> ExperimentConfig | AblationConfig:
    """Load whatever the file or recipe is."""
    load = load_ablation if _is_ablation(_chain(config_file(name))) else load_experiment
    return load(name, overrides, plugins)


def parse_experiment(raw: Mapping[str, Any], origin: str = "config") -> ExperimentConfig:
    """Validate an experiment given as plain data, e.g. what ``resolved()`` gave; ``InputError`` if it is wrong."""
    _load_plugins(_plugin_files(raw, origin))
    with explained(ExperimentConfig, origin):
        return ExperimentConfig.model_validate(raw)


def _chain(file: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file, laid over its base; an ablation keeps its base apart."""
    if file in seen:
        raise ConfigError(f"{_origin(file)}: base leads back to the file itself")
    # A recipe lies inside the installed package, where no data of the user are.
    raw = _placed(read(file, Path.cwd() if _recipe_name(file) else None), file)
    if "base" not in raw:
        return raw
    base = _base(raw.pop("base"), file, seen)
    if _is_ablation(base):
        merged = {**base, **raw}
    elif _is_ablation(raw):
        return {**raw, "base": base}
    else:
        merged = merge(base, raw)
    plugins = [*base.get("plugins", []), *raw.get("plugins", [])]
    return {**merged, "plugins": plugins} if plugins else merged


def _base(base: Any, file: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if isinstance(base, str):
        return _chain(config_file(str(base), beside=file.parent), (*seen, file))
    if isinstance(base, Mapping):  # written out, as saved plans have it
        return _placed(dict(cast("Mapping[str, Any]", base)), file)
    raise ConfigError(f"{_origin(file)}: base: write the name of a recipe or a file, not {base!r}")


def _placed(raw: dict[str, Any], file: Path) -> dict[str, Any]:
    """Make plugin files absolute: they are named relative to the config file."""
    if raw.get("plugins") is None:
        return {key: value for key, value in raw.items() if key != "plugins"}
    files = _plugin_files(raw, _origin(file))
    return {**raw, "plugins": [str((file.parent / at_home(each)).resolve()) for each in files]}


def _plugin_files(raw: Mapping[str, Any], origin: str) -> list[str]:
    """The plugin files that a config names; ``ConfigError`` if it names something else."""
    given: Any = raw.get("plugins") or []
    if not isinstance(given, list) or not all(
        isinstance(each, (str, Path)) and "\0" not in str(each) for each in given
    ):
        raise ConfigError(f"{origin}: plugins: write a list of Python files, not {given!r}")
    return [str(each) for each in cast("list[Any]", given)]


def _is_ablation(raw: Mapping[str, Any]) -> bool:
    """Tell by the keys; a misspelt key (axs) counts as what it is nearest to."""
    known = {*ExperimentConfig.model_fields, *_ABLATION_KEYS}
    meant = [nearest(key, known, count=1) for key in set(raw) - known - {"base"}]
    return bool(_ABLATION_KEYS & {*raw, *(name for names in meant for name in names)})


def _override_ablation(raw: dict[str, Any], overrides: Sequence[str], file: Path) -> dict[str, Any]:
    for text in overrides:
        path, value = parse_override(text)
        key, _, rest = path.partition(".")
        if path == "base":
            raw = {**raw, "base": _base(value, file, ())}
        elif (
            key in ("axes", "report") and rest and isinstance(raw.get(key, {}), dict)
        ):  # names of axes have dots of their own
            raw = {**raw, key: {**raw.get(key, {}), rest: value}}
        elif key in AblationConfig.model_fields:
            raw = override(raw, path, value, origin=f"-s {text}")
        else:
            raw = {**raw, "base": override(raw.get("base", {}), path, value, origin=f"-s {text}")}
    return raw


def _experiment(raw: dict[str, Any], file: Path, plugins: Iterable[str | Path]) -> ExperimentConfig:
    files = _load_plugins([*_plugin_files(raw, _origin(file)), *plugins])
    with explained(ExperimentConfig, _origin(file)):
        config = ExperimentConfig.model_validate({**raw, "plugins": files})
    return config.model_copy(update={"plugins": _with_used(config.plugins, [config])}).named(
        name_from(file.stem, "config")
    )


def _ablation(raw: dict[str, Any], file: Path, plugins: Iterable[str | Path]) -> AblationConfig:
    base = cast("dict[str, Any]", raw.get("base") or {})
    mistakes, origin = Together(), _origin(file)
    files = _load_plugins([*_plugin_files(base, origin), *_plugin_files(raw, origin), *plugins])
    with mistakes.part():
        base = _experiment({**base, "plugins": []}, file, ()).resolved()
    with mistakes.part(), explained(AblationConfig, origin):
        config = AblationConfig.model_validate({**raw, "base": base, "plugins": files})
    mistakes.tell()
    arms: list[ExperimentConfig] = []
    for arm in config.expand():  # each must be valid before any is run
        with mistakes.part():
            arms.append(config.experiment(arm.settings))
    mistakes.tell()
    settled = _settled(config, arms)
    return settled.model_copy(update={"plugins": _with_used(config.plugins, arms)}).named(
        name_from(file.stem, "config")
    )


def _settled(config: AblationConfig, built: Sequence[ExperimentConfig]) -> AblationConfig:
    """Make relative paths among the arms' settings absolute, so that a saved config means the same elsewhere."""
    places = [(arm.settings, experiment.resolved()) for arm, experiment in zip(config.expand(), built, strict=True)]

    def settle(path: str, value: Any) -> Any:
        resolved = next((data for settings, data in places if settings.get(path) is value), None)
        return _absolute(value, _at(resolved, path))

    axes = {path: [settle(path, value) for value in values] for path, values in config.axes.items()}
    arms = [{path: settle(path, value) for path, value in arm.items()} for arm in config.arms]
    return config.model_copy(update={"axes": axes, "arms": arms})


def _at(data: Any, path: str) -> Any:
    for step in path.split("."):
        data = cast("dict[str, Any]", data).get(step) if isinstance(data, dict) else None
    return data


def _absolute(value: Any, meant: Any) -> Any:
    if isinstance(value, Located):
        return meant if meant == str(value.folder / at_home(value)) else str(value)
    if isinstance(value, dict):
        options, known = cast("dict[str, Any]", value), cast("dict[str, Any]", meant if isinstance(meant, dict) else {})
        return {key: _absolute(each, known.get(key)) for key, each in options.items()}
    return value


def _with_used(files: Sequence[Path], configs: Sequence[ExperimentConfig]) -> list[Path]:
    """Add the plugin files (loaded by ``--plugin``) whose components are used: a child process needs them too."""
    used = {spec.use.partition(":")[0] for config in configs for spec in config.specs()}
    return list(dict.fromkeys([*files, *(file for file in registry().files if file.stem in used)]))


def _load_plugins(files: Sequence[str | Path]) -> list[str]:
    """Load plugin files before the components that they bring are looked up."""
    paths = list(dict.fromkeys(str(at_home(each).resolve()) for each in files))
    for path in paths:
        registry().load_file(path)
    return paths


def _origin(file: Path) -> str:
    return f"recipe {name}" if (name := _recipe_name(file)) else str(file)


def _recipe_name(file: Path) -> str | None:
    return next((name for name, path in recipes().items() if path.resolve() == file), None)
