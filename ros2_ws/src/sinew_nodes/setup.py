"""Packaging of the nodes; one console script per node, named as in the launch files."""

from setuptools import find_packages, setup

NODES = (
    "arm_node",
    "camera_node",
    "grasp_node",
    "gripper_node",
    "lifecycle_manager",
    "record_node",
    "robot_state_publisher",
    "sim_host",
    "task_node",
    "view_node",
)

setup(
    name="sinew_nodes",
    version="0.1.0",
    packages=find_packages(include=["sinew_nodes", "sinew_nodes.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sinew_nodes"]),
        ("share/sinew_nodes", ["package.xml"]),
    ],
    package_data={"": ["py.typed", "*.html", "*.css", "*.js"]},
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="sinew maintainers",
    maintainer_email="maintainers@sinew.example.com",
    description="Thin ROS 2 lifecycle nodes over sinew's devices, policies and planning; the launch runner.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{name} = sinew_nodes.{name}:main" for name in NODES]},
)
