"""A user's action that looks at addresses as fail2ban's objects."""

import json
import pickle

from fail2ban.server.action import ActionBase
from fail2ban.server.ipdns import IPAddr


class AddressAction(ActionBase):
    def __init__(self, jail, name, record):
        super().__init__(jail, name)
        self.record = record

    def write(self, *what):
        with open(self.record, "a") as file:
            file.write(json.dumps(what) + "\n")

    def describe(self, ip):
        net = IPAddr("10.0.0.0/8")
        self.write(
            str(ip), repr(ip), "%s" % ip, ip.familyStr, ip.isIPv4, ip.isIPv6, ip.isValid,
            ip.isSingle, ip.plen, ip.addr, ip.hexdump, str(ip.ntoa), ip.getPTR(), ip.getPTR(""),
            ip.getPTR("example."), ip.isInNet(net), net.contains(ip), ip == str(ip), ip != str(ip),
            ip == None, hash(ip) == hash(ip.ntoa), ip + ":22", "<" + ip, str(ip.raw),
            {str(ip): 1}.get(str(ip)), pickle.loads(pickle.dumps(ip)) == str(ip),
        )

    def ban(self, aInfo):
        self.describe(aInfo["ip"])
        self.describe(aInfo["fid"])
        self.write(aInfo["family"], aInfo["ip-rev"], str(aInfo["raw-ticket"]))

    def start(self):
        for text in (
            "1.2.3.4", "1.2.3.4/24", "1.2.3.4/255.255.0.0", "1.2.3.4/32", "10.1.2.3", "::1",
            "[2001:db8::1]", "2001:db8::1/64", "2001:db8::1/ffff:ffff::", "::ffff:1.2.3.4",
            "user", "999.1.1.1", "", "0.0.0.0/0",
        ):
            self.describe(IPAddr(text))
        ordered = sorted([IPAddr("2.0.0.1"), IPAddr("::1"), IPAddr("1.0.0.1")])
        self.write([str(ip) for ip in ordered])
        self.write(len({IPAddr("1.2.3.4"), IPAddr("1.2.3.4"), "1.2.3.4"}))
        try:
            self.write(str(IPAddr("1.2.3.4/255.0.255.0")))
        except ValueError as error:
            self.write(type(error).__name__)


Action = AddressAction
