"""Maps the three source roots to their import packages; all metadata is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

ROOTS = {"policies": "sinew_policies", "sim": "sinew_sim", "hardware": "sinew_hardware"}

packages: list[str] = []
package_dir: dict[str, str] = {}
for root, top in ROOTS.items():
    packages += find_namespace_packages(root, include=[top, f"{top}.*"])
    package_dir[top] = f"{root}/{top}"

setup(
    packages=packages,
    package_dir=package_dir,
    package_data={"": ["*.yaml", "*.xml", "*.json", "*.safetensors", "*.md", "py.typed"]},
)
