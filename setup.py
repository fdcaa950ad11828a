"""Copies the recipes in ``configs/`` into the package when it is built; everything else is in ``pyproject.toml``."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Build the package with ``configs/*.yaml`` in it. An editable install finds them where they are."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "keras_transfer", "configs")
            self.mkpath(str(folder))
            for recipe in sorted(Path("configs").glob("*.yaml")):
                self.copy_file(str(recipe), str(folder / recipe.name))


setup(cmdclass={"build_py": BuildWithRecipes})
