"""What the demo model knows: the lists behind the tasks."""

CAPITALS = dict(pair.split(":") for pair in """
France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Poland:Warsaw Greece:Athens
Ireland:Dublin Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Hungary:Budapest Iceland:Reykjavik
Russia:Moscow Ukraine:Kyiv Turkey:Ankara Egypt:Cairo Kenya:Nairobi Morocco:Rabat Ghana:Accra Ethiopia:Addis_Ababa
Nigeria:Abuja Senegal:Dakar Japan:Tokyo China:Beijing India:New_Delhi Thailand:Bangkok Vietnam:Hanoi Nepal:Kathmandu
Iran:Tehran Iraq:Baghdad Jordan:Amman Indonesia:Jakarta Mongolia:Ulaanbaatar Canada:Ottawa Mexico:Mexico_City
Cuba:Havana Peru:Lima Chile:Santiago Brazil:Brasilia Argentina:Buenos_Aires Colombia:Bogota Ecuador:Quito
Uruguay:Montevideo Australia:Canberra Belgium:Brussels Switzerland:Bern Romania:Bucharest Bulgaria:Sofia
Serbia:Belgrade Croatia:Zagreb Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Tunisia:Tunis Lebanon:Beirut
""".split())
CAPITALS = {country: city.replace("_", " ") for country, city in CAPITALS.items()}

CAPITALS_ZH = dict(pair.split(":") for pair in
                   "法国:巴黎 德国:柏林 意大利:罗马 西班牙:马德里 英国:伦敦 俄罗斯:莫斯科 日本:东京 中国:北京 韩国:首尔 "
                   "泰国:曼谷 埃及:开罗 加拿大:渥太华 巴西:巴西利亚 希腊:雅典 越南:河内 美国:华盛顿".split())

OPPOSITES = [pair.split(":") for pair in
             "hot:cold big:small fast:slow tall:short light:dark day:night up:down left:right open:closed happy:sad "
             "old:young rich:poor full:empty wet:dry hard:soft loud:quiet early:late near:far strong:weak high:low "
             "clean:dirty thick:thin good:bad sweet:bitter".split()]

SOUNDS = dict(pair.split(":") for pair in
              "cow:moo dog:woof cat:meow duck:quack sheep:baa pig:oink lion:roar owl:hoot bee:buzz horse:neigh "
              "snake:hiss frog:croak wolf:howl rooster:crow mouse:squeak".split())

YOUNG = dict(pair.split(":") for pair in
             "dog:puppy cat:kitten cow:calf sheep:lamb horse:foal duck:duckling bear:cub hen:chick goat:kid "
             "swan:cygnet frog:tadpole deer:fawn pig:piglet goose:gosling".split())

COLOURS_OF = dict(pair.split(":") for pair in
                  "grass:green snow:white coal:black blood:red lemon:yellow carrot:orange sky:blue banana:yellow "
                  "milk:white tomato:red plum:purple chocolate:brown flamingo:pink frog:green".split())

LEGS = {"dog": 4, "cat": 4, "spider": 8, "bird": 2, "ant": 6, "snake": 0, "horse": 4, "bee": 6, "fish": 0, "duck": 2,
        "cow": 4, "crab": 10}

SYMBOLS = dict(pair.split(":") for pair in
               "hydrogen:H oxygen:O carbon:C nitrogen:N gold:Au silver:Ag iron:Fe copper:Cu sodium:Na helium:He "
               "lead:Pb tin:Sn zinc:Zn calcium:Ca".split())

CONTINENTS = dict(pair.split(":") for pair in
                  "France:Europe Japan:Asia Egypt:Africa Brazil:South_America Canada:North_America Kenya:Africa "
                  "India:Asia Spain:Europe Peru:South_America Mexico:North_America China:Asia Germany:Europe "
                  "Ghana:Africa Chile:South_America Italy:Europe Thailand:Asia".split())
CONTINENTS = {k: v.replace("_", " ") for k, v in CONTINENTS.items()}

PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth").split()

NAMES = ("Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina Victor Wendy "
         "Yara Zoe Adam Bella Carl Diana Erik Fiona Gina Hugo Ida Jonas Kim Lena Max Nina Oscar Petra Quinn Ruth Simon "
         "Tom Uma Vera Will Xenia Yusuf Alice Bob Lily Omar Li Wei Mei Chen").split()
COLOURS = "red blue green yellow black white orange purple pink brown grey silver".split()
ANIMALS = "cat dog rabbit parrot hamster turtle goldfish pony mouse lizard".split()
CITIES = ("Paris Berlin Rome Madrid Lisbon Vienna Warsaw Athens Dublin Oslo Tokyo Beijing London Cairo Lima Ottawa "
          "Moscow Delhi Sydney Boston Chicago Munich Milan Geneva Shanghai Hamburg Porto Seoul").split()
THINGS = "apples books coins stamps cards eggs pens balls nuts cups flowers stones tickets shells".split()
FOODS = "pizza rice soup bread pasta salad cake fish noodles cheese apples tea".split()

# Words to spell: common ones of 3 to 7 letters.
WORDS = """
cat dog sun sky sea red car bus cup hat pen map bed box key egg ice arm leg eye ear toy joy boy man day way bag big hot
cold bird fish tree star moon rain snow wind fire lake hill road ship boat book door wall room roof lamp desk bell song
gold iron wood rock sand salt milk cake rice corn meat soup bean pear plum nut fox cow pig hen bee ant owl bat bear wolf
lion deer frog duck goat swan crab seal nose hand foot head hair neck back skin bone face lips king queen ring coin bank
farm park city town east west north south green black white brown blue pink apple lemon grape peach melon bread sugar
water river ocean beach cloud storm night light space earth plant grass fruit seed leaf rose lily house table chair
clock glass plate spoon knife fork shirt shoes socks dress skirt glove train plane truck wheel horse sheep mouse tiger
zebra snake eagle whale shark robot radio phone paper music dance story poem game ball team race jump swim walk run
smile laugh dream sleep heart brain blood hello world happy quick quiet brave clean fresh sweet sharp smart young
garden window summer winter spring autumn flower forest island desert valley bridge castle market school doctor
teacher farmer driver singer writer artist orange banana cherry tomato potato carrot butter cheese coffee yellow
purple silver monkey rabbit turtle parrot pencil letter number answer minute second season family friend sister
brother mother father kitchen morning evening weather rainbow picture holiday journey village
""".split()
