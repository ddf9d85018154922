"""The syncs that are declared, loaded by Dagster's own component loader."""

from pathlib import Path
from types import ModuleType

from dagster.components.core.component_tree import ComponentTree

from commerce_assets.config import PROJECT_ROOT, Settings
from commerce_assets.defs import activation
from commerce_assets.defs.activation.component import SyncComponent
from commerce_assets.service.syncs import declared_syncs


def sync_components(settings: Settings) -> list[SyncComponent]:
    """One component a declared sync, in the order of their files; those made of segments come last.

    They are read beforehand as everywhere else, which names every mistake with file and line and refuses two syncs that write one field.
    """
    declared = declared_syncs(settings)
    tree = ComponentTree(defs_module=_module_of(settings.syncs_root), project_root=PROJECT_ROOT)
    found = list(tree.get_all_components(SyncComponent))
    loaded = {component.declared.name for component in found}
    return found + [SyncComponent(placed.declared) for name, placed in declared.items() if name not in loaded]


def _module_of(folder: Path) -> ModuleType:
    """The folder as a module, for the loader wants one; another folder than this package's need not be one."""
    if folder.resolve() == Path(__file__).resolve().parent:
        return activation
    module = ModuleType("declared_syncs")
    module.__path__ = [str(folder)]
    module.__file__ = str(folder / "__init__.py")
    return module
