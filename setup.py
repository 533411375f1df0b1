"""What a wheel holds: the harness, and inside it the data and the claims that stand beside it in a checkout."""

from setuptools import find_packages, setup

BESIDE = ("data", "hypotheses")

setup(
    packages=[*find_packages(include=["harness", "harness.*"]), *(f"harness.{name}" for name in BESIDE)],
    package_dir={f"harness.{name}": name for name in BESIDE},
    package_data={"harness.report": ["template/*"], "harness.data": ["**/*"]},
)
