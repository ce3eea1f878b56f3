"""Print the lowest version that pyproject.toml allows of every dependency, as constraints for pip.

Usage: python .ci/constraints.py [NAME...] > constraints.txt, where NAME is a dependency to leave out.
"""

import re
import sys
from itertools import chain
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
    bound = re.match(r"([\w.-]+)>=([\w.]+)", requirement)
    if bound and bound[1] not in sys.argv[1:]:
        print(f"{bound[1]}=={bound[2]}")
