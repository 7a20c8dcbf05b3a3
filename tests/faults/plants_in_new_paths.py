"""Faults of what the machine answers by itself, each with the test that must find it."""

from __future__ import annotations

from plants import SIM, Plant

CORE = "tests/core/test_new_paths.py"
LOOK = "tests/core/test_look.py"
PROPERTY = "tests/unit/handler/test_by_itself.py"

PLANTS_IN_NEW_PATHS = (
    Plant(
        "nobody looks for siblings",
        "look.pyx",
        "    if look.siblings and _has_sibling(root, path, look.length):\n",
        "    if False:\n",
        PROPERTY,
    ),
    Plant(
        "a look leaves the file open",
        "look.pyx",
        "    result = _read(look, fd)\n    close(fd)\n",
        "    result = _read(look, fd)\n",
        LOOK,
    ),
    Plant(
        "a look follows symlinks",
        "look.pyx",
        "RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS",
        "RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS",
        LOOK,
    ),
    Plant(
        "a second look takes any file for the one that was there",
        "new_paths.pyx",
        "(error == 0 and file_version_same(&look.version, &entry.version))",
        "error == 0",
        CORE,
    ),
    Plant(
        "what is gone is trusted",
        "new_paths.pyx",
        "        if (error == -EMFILE or error == -ENFILE",
        "        if (error < 0 or error == -ENFILE",
        CORE,
    ),
    Plant(
        "a template answers paths of other extensions",
        "plain_path.pyx",
        "    extension[0] = length - dot if dot else 0\n",
        "    extension[0] = 0\n",
        CORE,
    ),
    Plant(
        "a template answers paths for which there are other rules",
        "site.pyx",
        "        rules |= <uint64_t>site_matches(pattern, path, length) << i\n",
        "        pass\n",
        CORE,
    ),
    Plant(
        "what was given before is forgotten",
        "new_paths.pyx",
        "    history_give(&machine.site.history, hash, &look.version, True)\n",
        "",
        CORE,
    ),
    Plant(
        "the handler does not hear what was given",
        "files/entry_cache.py",
        "            past.gave(Version(*given))\n",
        "            pass\n",
        PROPERTY,
    ),
    Plant(
        "files of any device are believed to be as long as they say",
        "new_paths.pyx",
        " or not site_trusts(&machine.site, version.dev)\n",
        "\n",
        CORE,
    ),
    Plant(
        "the machine looks in a root that leads elsewhere",
        "new_paths.pyx",
        "    return not site.root_left\n",
        "    return True\n",
        CORE,
    ),
    Plant(
        "the machine looks in a root that nobody has told of",
        "new_paths.pyx",
        "    if site.root_path.path == NULL:\n        return False\n",
        "",
        CORE,
    ),
    Plant(
        "the machine's own has no bound",
        "budget.pyx",
        "        if looks == ROWS_LOOKED_AT_MAX:\n            return False\n",
        "        if looks == ROWS_LOOKED_AT_MAX:\n            return True\n",
        CORE,
    ),
    Plant(
        "an entry of the machine's own outlives its plan",
        "plans.pyx",
        "    if entry_at(table, entry).own:\n",
        "    if False:\n",
        CORE,
    ),
    Plant(
        "what is for one answer is counted as remembered",
        "new_paths.pyx",
        "        plan_loosen(&machine.table, plan_slot)\n",
        "        pass\n",
        SIM,
    ),
)
