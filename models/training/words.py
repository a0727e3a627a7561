"""Word lists of the story grammar: who, where, with what."""

GIRLS = """Mia Lily Anna Lucy Ella Rosie Sara Nora Zoe Ruby Daisy Ivy Molly Luna Clara Poppy Hazel Tilly
Maya Penny Willow Nell Coco Dot Kiki Bella Emma Ada Alice Amy Bea Betty Carla Cora Dina Dora Edith Elsie
Eva Faye Flora Freya Gina Gloria Grace Greta Hattie Heidi Helen Holly Ida Irene Iris Jane Jenny Jill Josie
Joy June Kate Kitty Laura Lena Lola Lotta Mabel Maggie Marta Mary Maud May Mimi Minna Nadia Nancy Nina Olga
Olive Pam Pearl Peggy Polly Queenie Rita Robin Rosa Sadie Sally Selma Sophie Stella Susie Tara Tessa Tina
Agnes Alma Amber April Astrid Audrey Beatrice Bonnie Brenda Bridget Camille Carmen Carol Cecilia Celia
Chloe Claire Claudia Connie Daphne Delia Diana Dolores Doris Eleanor Elena Eliza Elvira Erica Esther Eugenia
Felicity Fiona Frances Frida Gertrude Ginger Gwen Harriet Hilda Hope Imogen Ingrid Isabel Jasmine Jemima Judy
Julia Katrina Kirsten Leonora Leila Linda Louise Lydia Mathilda Marigold Martha Melissa Meredith Mildred Miranda
Monica Muriel Myrtle Naomi Natalie Odette Ophelia Patience Petunia Phoebe Priscilla Prudence Rachel Ramona
Rebecca Rosalind Roxanne Sabrina Samantha Serena Sheila Sibyl Sylvia Tabitha Teresa Trudy Ursula Valerie
Vanessa Veronica Violet Virginia Vivian Wilma Yolanda Una Vera Viola Wanda Wendy Winnie Yara Yvonne Zelda""".split()
BOYS = """Tom Sam Ben Max Jack Tim Leo Finn Oscar Felix Hugo Toby Pip Otto Milo Ned Rufus Bruno Theo Gus
Archie Momo Charlie Adam Albert Alfie Andy Arlo Arthur Barney Basil Bert Billy Bob Bobby Carl Casper Colin
Dan Danny David Dennis Dexter Eddie Eli Emil Eric Ernie Frank Fred Freddie George Gilbert Harry Henry Herman
Ike Ivan Jake Jasper Jim Joe Johnny Jonas Karl Kenny Kit Larry Lenny Lewis Louis Luke Mark Marvin Matt Mike
Monty Nick Noah Norman Oliver Omar Oswald Owen Paul Percy Pete Peter Quentin Ralph Ray Ricky Robert Roger
Roy Rudy Simon Stan Steve Sunny Teddy Tony Victor Walter Wally Wilbur Will Abraham Alexander Alfonso Ambrose Anatole Anton August Aubrey Barnaby Bartholomew Benedict Benjamin Bertram
Boris Brandon Bruce Byron Caleb Calvin Cedric Chester Christopher Clarence Claude Clifford Clive Conrad Cornelius
Curtis Cyril Dominic Donald Douglas Duncan Dylan Edgar Edmund Edward Elliot Ernest Ethan Eugene Ferdinand Fergus
Fletcher Francis Gabriel Garth Geoffrey Gideon Godfrey Graham Gregory Harold Harvey Hector Herbert Horace Howard
Humphrey Ignatius Isaac Jeremy Jerome Jonathan Joseph Julian Kevin Leander Leonard Leopold Lionel Lloyd Ludwig
Magnus Malcolm Marcel Maximilian Maurice Melvin Mortimer Nathan Nigel Orlando Orville Osbert Patrick Phineas Philip
Quincy Raymond Reginald Richard Roderick Roland Rupert Samuel Sebastian Silas Stanley Sylvester Terence Thaddeus
Thomas Timothy Tobias Ulysses Valentine Vernon Vincent Wallace Warren Wesley Winston Xavier Zachary Zeke""".split()
ANIMALS = """fox rabbit bear mouse owl squirrel hedgehog duck frog turtle kitten puppy bird pig lamb pony cow
goat hen deer beaver badger mole otter penguin dolphin crab bee ant butterfly ladybug snail lion tiger
elephant monkey giraffe zebra dragon robot cat dog goose swan donkey sparrow parrot seal wolf chipmunk
raccoon hamster mongoose gazelle antelope buffalo armadillo anteater leopard panther cheetah jaguar hyena
jackal lemur baboon gorilla chimpanzee flamingo pelican falcon eagle nightingale woodpecker cuckoo seagull
canary lobster shrimp octopus jellyfish starfish squid seahorse narwhal manatee grasshopper firefly dragonfly
beetle moth wasp mosquito platypus wombat tortoise iguana chameleon gecko alligator crocodile hamster toad lizard camel panda koala kangaroo hippo rooster crow raven robin pigeon weasel bat
caterpillar cricket spider worm sheep horse calf chick lynx moose walrus ostrich peacock stork heron
salamander porcupine guinea-pig bunny cub fawn unicorn giant elf dwarf fairy troll""".split()
PEOPLE = {"she": "girl queen princess witch grandmother nurse".split(),
          "he": "boy king prince wizard knight grandfather".split(),
          "both": """farmer baker sailor gardener painter fisher teacher shepherd tailor clown doctor cook miller
potter carpenter pilot singer dancer musician juggler blacksmith librarian shopkeeper postman inventor
explorer scientist captain hunter traveler merchant weaver shoemaker clockmaker gardener""".split()}
TRAITS = """little brave shy kind clever curious lonely lazy happy quiet hungry proud gentle playful sleepy
cheerful careful grumpy friendly young small big funny busy honest patient noisy tidy messy polite
stubborn dreamy nervous bold silly wise tiny merry lively hopeful thoughtful helpful forgetful""".split()
# A place is a preposition and a noun.
PLACES = [tuple(line.split(" ", 1)) for line in """in forest|in village|on farm|in garden|in valley|near castle
in town|in meadow|on island|near mountain|by river|by lake|on beach|on hill|in old barn|near cave|in city|in park
near school|in orchard|by pond|near desert|in jungle|by harbor|in field|near lighthouse|near windmill|by stream
in snowy woods|near waterfall|in market square|on bridge|in wheat field|near railway station|by sea|in swamp
in palace|near bakery|near library|in flower shop|in rose garden|under old oak tree|near quiet canyon
by old well|in pine forest|near zoo|near circus tent|in vegetable garden|near stone wall|on river bank
in tall grass|near toy shop|in bamboo grove|by fountain|near church|near ice lake|on farm road
in big kitchen|in cozy house|near train tracks""".replace("\n", "|").split("|")]
OBJECTS = """key hat ball kite boat drum lamp book map shell bell basket blanket coin box cup scarf ring flute
clock feather flower lantern ladder wagon bucket umbrella mirror button spoon stone letter toy whistle crown
balloon doll necklace pencil paintbrush violin teapot pillow candle compass rope bag backpack bottle bracelet
broom brush chair chest coat comb diary fan flag glove guitar hammer horn jar kettle marble mask medal mug net
notebook pebble picture pin plate pot puppet puzzle ribbon rug sack sail shovel sled slipper sock sponge stamp
statue stick stool suitcase sweater telescope tent thimble ticket towel train trumpet vase wand watch wheel
globe hook jewel locket magnet nail oar acorn pinecone rattle saddle sandal scooter shoe spade tambourine top
tray whisk wreath yo-yo bead bow crayon harp knapsack paddle quilt rocket satchel skateboard snow-globe
trophy typewriter walking-stick wheelbarrow windmill xylophone""".replace("-", " ").split()
TOO_BIG = """snow walking stick yo yo top wagon windmill tent train statue wheelbarrow chest ladder boat stool
chair rocket sack sail broom oar""".split()
OBJECTS = [o for o in OBJECTS if o not in TOO_BIG] + ["snow globe", "walking stick"]
LOOKS = """red blue green golden silver shiny tiny old strange soft yellow purple orange white black brown pink
wooden round new beautiful bright heavy dusty painted striped broken pretty lovely crooked rusty sparkling
plain colorful""".split()
FOODS = """bread|apples|honey|cheese|berries|carrots|nuts|soup|cake|pancakes|cookies|pears|plums|cherries|milk
|corn|rice|noodles|jam|butter|tea|cocoa|muffins|waffles|porridge|grapes|peaches|strawberries|mushrooms|pumpkin pie
|apple pie|biscuits|cabbage soup|spinach|yogurt|chestnuts|almonds|hazelnuts|chocolate|ginger tea|dumplings|pudding|lemonade|orange juice|popcorn|sandwiches|potatoes|salad|tomato soup|toast|raisins""".replace("\n", "").split("|")
# A skill is the bare verb phrase, its -ing form and its past form.
SKILLS = [tuple(s.split("/")) for s in """swim/swimming/swam|sing/singing/sang|dance/dancing/danced
paint/painting/painted|bake bread/baking bread/baked bread|fly a kite/flying a kite/flew a kite
climb trees/climbing trees/climbed trees|ride a bike/riding a bike/rode a bike|read/reading/read
tell jokes/telling jokes/told jokes|play the drum/playing the drum/played the drum|skate/skating/skated
whistle/whistling/whistled|juggle/juggling/juggled|play the flute/playing the flute/played the flute
jump rope/jumping rope/jumped rope|knit/knitting/knitted|row a boat/rowing a boat/rowed a boat
tie knots/tying knots/tied knots|draw/drawing/drew|cook soup/cooking soup/cooked soup|write/writing/wrote
play chess/playing chess/played chess|throw a ball/throwing a ball/threw a ball|ski/skiing/skied
play the violin/playing the violin/played the violin|whisper/whispering/whispered|sew/sewing/sewed""".replace("\n", "|").split("|")]
FEARS = """the dark|loud thunder|deep water|tall trees|being alone|strangers|the old bridge|spiders
|the wind at night|making mistakes|high places|big dogs|the cellar|the shadow on the wall|ghosts|snakes
|crowds|the doctor|lightning|the noisy train""".replace("\n", "").split("|")
ELDERS = """the old owl|Grandma Rose|Grandpa Joe|the wise turtle|Aunt Martha|Uncle Henry|Mrs. Green|Mr. Brown
|the old teacher|the wise old bear|the gray goose|the old gardener|Captain Bill|Doctor Miller|Mrs. Hill
|the kind baker|Mr. Stone|the old badger|Granny Smith|the librarian""".replace("\n", "").split("|")
WEATHER = """sunny|rainy|windy|cold|warm|snowy|foggy|bright|gray|hot|chilly|stormy|cloudy|lovely|clear|quiet""".replace("\n", "").split("|")
GAMES = "hide and seek|tag|cards|ball|marbles|chess|catch|music|pretend|checkers".split("|")
