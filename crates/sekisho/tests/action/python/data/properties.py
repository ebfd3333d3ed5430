"""A user's action with properties and methods of all kinds."""

from fail2ban.server.action import ActionBase


class PropertyAction(ActionBase):
    limit = 3

    def __init__(self, jail, name, first, second="two", **more):
        super().__init__(jail, name)
        self.first = first
        self.second = second
        self.more = more
        self.nothing = None
        self.number = 5
        self.real = 1.5
        self.flag = True
        self.items = ["a", 1, None, (1, "x"), {"k": [1.0]}]
        self.pair = ("a", "b")
        self.some = {"x"}
        self.big = 2 ** 80
        self._hidden = "hidden"
        self._size = 1

    @property
    def size(self):
        return self._size

    @size.setter
    def size(self, value):
        if int(value) < 1:
            raise ValueError("size must be at least 1")
        self._size = int(value)

    @property
    def fixed(self):
        return "fixed"

    def add(self, a, b=2):
        return a + b

    def says(self, text):
        self._logSys.info("says %s", text)

    def fails(self):
        raise RuntimeError("it fails")

    def odd(self):
        return object

    @staticmethod
    def static(word="w"):
        return {"word": word}


Action = PropertyAction
