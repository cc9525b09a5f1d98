"""stub until the solver is merged"""


class Softmax:
    def __init__(self, tolerance, device):
        pass
