"""Lines as sites write and say them, English and Chinese: ordinary ones by template and chance, and unusual ones.

Templates are drawn by Zipf's law, so that some are said all day and some once in a thousand lines; names, streets,
companies and plates are made up by the thousand, and those of held-out lines have never been seen before.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from functools import partial

_SLOT = re.compile(r"\{(\w+)\}")

_ONSETS = [*"bcdfghjklmnprstvwyz", "br", "ch", "dr", "gr", "kl", "sh", "st", "tr"]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ee", "ou"]
_CODAS = ["", "", "n", "r", "l", "s", "ck", "nd", "rt", "m"]
_STREETS = ["street", "road", "lane", "avenue", "square", "way"]

_ITEMS = {
    "english": ("umbrella", "wallet", "phone", "jacket", "bag", "projector", "keyboard", "bottle", "scarf", "laptop"),
    "chinese": ("雨伞", "钱包", "手机", "外套", "背包", "投影仪", "键盘", "水杯", "围巾", "电脑"),
}

ENGLISH: tuple[str, ...] = (
    "officer {name} at gate {n}",
    "unit {n} on patrol in sector {n}",
    "{time} {first} {name} signed in at reception",
    "vehicle {plate} entered through gate {n}",
    "vehicle {plate} left through gate {n}",
    "control this is {name} radio check over",
    "radio check loud and clear {name}",
    "good morning control unit {n} starting shift",
    "door {n} on level {n} checked and locked",
    "delivery from {company} at the loading dock",
    "parcel for {first} {name} left at reception",
    "the train to {place} departs from platform {n} at {time}",
    "the train from {place} is {n} minutes late we apologise for the delay",
    "please stand behind the yellow line on platform {n}",
    "visitor {name} from {company} to see {first} {name} badge {code}",
    "lift {n} is out of service engineer called",
    "lift {n} is back in service",
    "unit {n} taking a break back at {time}",
    "lost property {item} handed in by {first} {name} ticket {code}",
    "cleaning finished on level {n} {name} reporting",
    "please send somebody to {place} {street} number {n}",
    "car park {n} is full send cars to car park {n}",
    "copy that {name} on my way to {place}",
    "shift handed over to {name} nothing to report",
    "camera {n} cleaned by {company}",
    "{first} {name} asks for the key to room {n}",
    "key for room {n} returned by {name}",
    "noise complaint {place} {street} {n} unit {n} attending",
    "parking complaint {street} {n} plate {plate}",
    "light out at {place} {street} {n} reported to {company}",
    "would the owner of the {colour} car {plate} please come to reception",
    "the museum closes in {n} minutes please make your way to the exit",
    "school group of {n} from {place} arrived at {time}",
    "dog without a leash near gate {n} {name} spoke to the owner",
    "meeting in room {n} moved to {time}",
    "water bottles delivered to level {n} by {company}",
    "{first} {name} feels better and has gone home",
    "bicycle without lights stopped on {street} {n} warned",
    "the cafe on level {n} opens at {time}",
    "rain coming in at window {n} bucket placed {name}",
    "fire door {n} on level {n} tested and closed",
    "fire alarm test at {time} nothing to do",
    "the {colour} line has a good service",
    "the escalator at exit {n} is being repaired",
    "wheelchair needed at platform {n} for {first} {name}",
    "first aid kit on level {n} checked by {name}",
    "street sweeper {n} broken down on {street} {company} called",
    "tree branch on {street} {n} removed by unit {n}",
    "{name} and {name} swap shifts on monday",
    "the {item} in meeting room {n} does not work {first} will look",
)

CHINESE: tuple[str, ...] = (
    "{name}在{n}号门执勤",
    "{n}号车前往{n}区巡逻",
    "{time}{name}到前台签到",
    "车辆{plate}从{n}号门进入",
    "车辆{plate}从{n}号门离开",
    "指挥中心我是{name}请回答",
    "收到{name}声音清楚",
    "{n}楼{n}号房间已检查并上锁",
    "{company}公司送货到卸货区",
    "{name}的快递已放在前台",
    "开往{place}的列车{time}从{n}站台发车",
    "由{place}开来的列车晚点{n}分钟敬请谅解",
    "请站在{n}站台黄线以内候车",
    "访客{name}来自{company}公司登记编号{code}",
    "{n}号电梯停用已通知维修",
    "{n}号电梯恢复使用",
    "{name}休息{time}回来",
    "失物招领{item}一件由{name}交来",
    "{n}楼清洁完毕{name}报告",
    "请派人到{place}路{n}号",
    "{n}号停车场已满请引导到{n}号停车场",
    "{name}明白马上去{place}",
    "交班给{name}一切正常",
    "{n}号摄像头已由{company}公司清洗",
    "{name}借用{n}号房间钥匙",
    "{n}号房间钥匙已由{name}归还",
    "{place}路{n}号噪音投诉{n}号车处理",
    "{place}路{n}号路灯不亮已报{company}公司",
    "请{plate}车主到前台来",
    "本馆还有{n}分钟闭馆请各位游客往出口方向离开",
    "{place}小学{n}名学生{time}到达",
    "{n}号门附近有狗没拴绳{name}已劝说",
    "{n}号会议室的会议改到{time}",
    "{company}公司送水到{n}楼",
    "{name}身体好转已回家",
    "{n}楼餐厅{time}开门",
    "{n}号窗户漏雨{name}已放水桶",
    "{n}楼消防门检查正常",
    "{time}消防警报测试无需处理",
    "{n}号出口自动扶梯正在维修",
    "{n}站台需要轮椅一辆{name}",
    "{n}楼急救箱已由{name}检查",
    "{place}路扫地车故障已联系{company}公司",
    "{name}和{name}星期一换班",
)

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢"
    "姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦"
)
_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建文志国玉兰红斌宇浩凯晨鑫鹏飞雪梅琳琪瑶欣怡佳俊峰宁"
    "波海江龙辉亮健康永春夏冬晓东南北山川云雨雷颖莹婷慧巧美雅芝萍燕彩菊勤珍莉岚苑婕馨瑗韵融园艺咏卿聪澜纯"
    "悦昭冰爽琬茗羽希宵翔功松善厚庆友裕河哲"
)
_PLACES = "东南西北中新安平和光明华永长宁福泰兴隆庆丰金银玉石桥河湖山林园城门口街湾岭塘泉港洲"

UNUSUAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "english": {
        "emergency": (
            "there is smoke coming out of the boiler room people are screaming",
            "man down not breathing we need an ambulance at gate {n}",
            "help us the roof has collapsed somebody is trapped underneath",
            "explosion at the loading dock several injured everybody get out",
            "{name} is bleeding badly he has been hit by a truck",
            "water is flooding the tunnel passengers cannot escape",
            "gas leak on level {n} evacuate the building immediately",
            "a child has fallen onto the tracks stop the train",
            "she is unconscious and has no pulse start resuscitation",
            "flames are spreading to the roof of {place} {street} {n}",
        ),
        "threat": (
            "he has a knife and says he will stab somebody",
            "I am going to kill you if you call the police",
            "give me the money or I will shoot",
            "there is a bomb under the bench at platform {n}",
            "three masked men with guns are running towards reception",
            "they are beating a boy behind the cafe with sticks",
            "you will all burn tonight nobody leaves alive",
            "stop following me or I break your neck",
            "he is threatening {name} with an axe",
            "armed robbery in progress at {place} {street}",
        ),
        "topic": (
            "stir the onions with butter until golden then add the garlic",
            "the quarterly dividend rose although inflation stayed high",
            "her violin concerto was praised by every critic in vienna",
            "photosynthesis turns sunlight into sugar inside the chloroplast",
            "the goalkeeper saved two penalties in extra time",
            "our neural network overfits because the dataset is tiny",
            "the empress exiled her brother after the siege of the castle",
            "plant tulips in october before the ground freezes",
            "the senate rejected the amendment by a narrow majority",
            "my grandmother used to tell us stories about the moon",
        ),
        "language": (
            "achtung im keller brennt es bitte alle sofort raus",
            "hay un hombre herido en la entrada necesitamos ayuda",
            "il y a quelqu'un sur les voies arrêtez tout",
            "помогите здесь человек упал с крыши",
            "誰か助けてください階段で倒れています",
            "有人持刀在站台上砍人快报警",
            "يوجد حريق في الطابق الثاني",
            "c'è una valigia abbandonata vicino al binario",
            "er ligt iemand bewusteloos op het perron",
            "kuna moto mkubwa karibu na lango",
        ),
    },
    "chinese": {
        "emergency": (
            "锅炉房冒烟了里面有人在喊救命",
            "有人倒地没有呼吸快叫救护车",
            "屋顶塌了下面压着人",
            "卸货区发生爆炸多人受伤赶快撤离",
            "{name}被卡车撞了流了很多血",
            "隧道进水乘客被困出不来",
            "{n}楼煤气泄漏立即疏散",
            "孩子掉到轨道上了快停车",
            "她昏迷了摸不到脉搏",
            "大火蔓延到{place}路{n}号屋顶",
        ),
        "threat": (
            "他手里拿着刀说要捅人",
            "敢报警我就杀了你全家",
            "把钱交出来不然开枪打死你",
            "{n}站台长椅下面有炸弹",
            "三个蒙面人持枪冲向前台",
            "他们拿棍子打一个男孩",
            "今天晚上谁也别想活着走",
            "再跟着我就拧断你的脖子",
            "他用斧头威胁{name}",
            "有歹徒正在抢劫银行",
        ),
        "topic": (
            "洋葱用黄油炒到金黄再放大蒜",
            "本季度股息上涨但通货膨胀仍然很高",
            "她的小提琴协奏曲受到评论家赞扬",
            "光合作用把阳光变成糖分",
            "守门员在加时赛扑出两个点球",
            "神经网络过拟合因为数据太少",
            "皇后在围城之后流放了她的弟弟",
            "十月土壤结冰前种下郁金香",
            "参议院以微弱多数否决了修正案",
            "奶奶以前常给我们讲月亮的故事",
        ),
        "language": (
            "somebody help there is a fire in the kitchen",
            "the man in the black coat has a gun",
            "achtung im keller brennt es bitte alle sofort raus",
            "hay un hombre herido en la entrada",
            "помогите здесь человек упал с крыши",
            "誰か助けてください階段で倒れています",
            "يوجد حريق في الطابق الثاني",
            "불이 났어요 빨리 나오세요",
            "ช่วยด้วยมีคนตกน้ำ",
            "il y a quelqu'un sur les voies arrêtez tout",
        ),
    },
}


class Writer:
    """Ordinary and unusual lines of one site. ``fresh``: names and places that no other writer has used."""

    def __init__(self, language: str, seed: int, *, fresh: bool = False) -> None:
        self.language = language
        self._random = random.Random(f"{language} {seed}")
        self._templates = ENGLISH if language == "english" else CHINESE
        self._weights = [1.0 / (rank + 1) for rank in range(len(self._templates))]
        pool = random.Random(f"{language} pool {seed if fresh else 0}")
        make = self._make_english if language == "english" else self._make_chinese
        self._pools = {slot: make(slot, pool) for slot in ("name", "first", "place", "company", "street", "item")}

    def ordinary(self, count: int) -> list[str]:
        chosen = self._random.choices(self._templates, self._weights, k=count)
        return [self.filled(template) for template in chosen]

    def unusual(self, kind: str, count: int) -> list[str]:
        if kind == "gibberish":
            return [self._gibberish() for _ in range(count)]
        if kind == "salad":
            return [self._salad() for _ in range(count)]
        lines = UNUSUAL[self.language][kind]
        return [self.filled(lines[number % len(lines)]) for number in range(count)]

    def filled(self, template: str) -> str:
        return _SLOT.sub(lambda match: self._slot(match.group(1)), template)

    def _slot(self, slot: str) -> str:
        some = self._random
        english = self.language == "english"
        make: dict[str, Callable[[], str]] = {
            "n": lambda: str(some.randint(1, 60)),
            "time": lambda: f"{some.randint(0, 23)}:{some.randint(0, 59):02}" if english or some.random() < 0.5 else
            f"{some.randint(1, 12)}点{some.randint(1, 59)}分",
            "code": lambda: f"{some.choice('ABCDEFG')}{some.randint(10_000, 99_999)}",
            "plate": self._plate,
            "colour": lambda: some.choice(["red", "blue", "green", "white", "black", "silver", "grey", "yellow"]),
        }  # fmt: skip
        if slot in make:
            return make[slot]()
        pool = self._pools[slot]
        # half of all mentions go to a few that are there every day
        return pool[int(len(pool) * some.random() ** 3)]

    def _plate(self) -> str:
        some = self._random
        letters = "".join(some.choices("ABCDEFGHJKLMNPRSTUVWXYZ", k=3))
        number = some.randint(10, 99)
        if self.language == "english":
            return f"{letters[:2]}{number} {letters}"
        return f"{some.choice('京沪粤苏浙川')}{letters[0]}{some.randint(10_000, 99_999)}"

    def _make_english(self, slot: str, some: random.Random) -> list[str]:
        def word(syllables: int) -> str:
            made = "".join(some.choice(_ONSETS) + some.choice(_VOWELS) for _ in range(syllables))
            return (made + some.choice(_CODAS)).capitalize()

        match slot:
            case "name":
                return [word(some.randint(1, 3)) for _ in range(3000)]
            case "first":
                return [word(2) for _ in range(800)]
            case "place":
                return [f"{word(2)}{some.choice(['', ' park', ' hill', 'ton', 'ford', ' bridge'])}" for _ in range(300)]
            case "street":
                return [f"{word(2)} {some.choice(_STREETS)}" for _ in range(400)]
            case "company":
                return [f"{word(2)} {some.choice(['logistics', 'ltd', 'services', 'group'])}" for _ in range(150)]
            case _:
                return [
                    "umbrella",
                    "wallet",
                    "phone",
                    "jacket",
                    "bag",
                    "projector",
                    "keyboard",
                    "bottle",
                    "scarf",
                    "glove",
                    "laptop",
                    "printer",
                ]

    def _make_chinese(self, slot: str, some: random.Random) -> list[str]:
        pick = partial(some.choice)
        match slot:
            case "name" | "first":
                return [pick(_SURNAMES) + "".join(some.choices(_GIVEN, k=some.choice((1, 2, 2)))) for _ in range(3000)]
            case "place" | "street":
                return ["".join(some.sample(_PLACES, 2)) for _ in range(400)]
            case "company":
                return [
                    "".join(some.sample(_PLACES + _GIVEN, 2)) + pick(("物流", "服务", "科技", "电器"))
                    for _ in range(150)
                ]
            case _:
                return [
                    "雨伞",
                    "钱包",
                    "手机",
                    "外套",
                    "背包",
                    "投影仪",
                    "键盘",
                    "水杯",
                    "围巾",
                    "手套",
                    "电脑",
                    "打印机",
                ]

    def _gibberish(self) -> str:
        some = self._random
        if self.language == "english":
            sizes = [some.randint(3, 9) for _ in range(some.randint(4, 9))]
            return " ".join("".join(some.choices("abcdefghijklmnopqrstuvwxyz", k=size)) for size in sizes)
        return "".join(chr(some.randint(0x4E00, 0x9F00)) for _ in range(some.randint(8, 16)))

    def _salad(self) -> str:
        """Words of ordinary lines that never stand beside each other."""
        lines = [self.filled(template) for template in self._random.choices(self._templates, k=8)]
        if self.language == "english":
            return " ".join(self._random.choice(line.split()) for line in lines)
        return "".join((at := self._random.randrange(len(line) - 1), line[at : at + 2])[1] for line in lines)


KINDS = ("emergency", "threat", "topic", "language", "gibberish", "salad")
