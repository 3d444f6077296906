"""Names on the wire. All relative, so that a namespace moves a whole robot; `/clock` and
`/diagnostics` are global by custom."""

CLOCK = "/clock"
TF = "tf"
TF_STATIC = "tf_static"
DIAGNOSTICS = "/diagnostics"
ROBOT_DESCRIPTION = "robot_description"

JOINT_STATES = "joint_states"
FOLLOW_JOINT_TRAJECTORY = "arm_controller/follow_joint_trajectory"
ARM_STATE = "arm_controller/controller_state"
GRIPPER_CMD = "gripper_controller/gripper_cmd"
GRIPPER_JOINT_STATES = "gripper_controller/joint_states"

ARM_HOLDER = "arm_controller"
"""Lease holder while a trajectory goal runs that came without a lease."""

SAFETY_STATE = "safety/state"
SAFETY_ESTOP = "safety/estop"
SAFETY_TRIP = "safety/trip"
SAFETY_RESET = "safety/reset"
SAFETY_ACQUIRE = "safety/acquire"
SAFETY_RELEASE = "safety/release"

OBJECT_COUNT = "scene/objects"

GRASP_CANDIDATES = "grasp/candidates"
GRASP_MARKERS = "grasp/markers"
GRASP_CLOUD = "grasp/cloud"
GRASP_SEGMENTS = "grasp/segments"
PLAN_GRASPS = "grasp/plan"

TASK_PICK = "task/pick"
TASK_CLEAR_TABLE = "task/clear_table"
TASK_PLAN = "task/planned_path"
TASK_STATUS = "task/status"


def color(camera: str) -> str:
    return f"{camera}/color/image_raw"


def color_info(camera: str) -> str:
    return f"{camera}/color/camera_info"


def depth(camera: str) -> str:
    return f"{camera}/aligned_depth_to_color/image_raw"


def depth_info(camera: str) -> str:
    return f"{camera}/aligned_depth_to_color/camera_info"


def points(camera: str) -> str:
    return f"{camera}/points"
