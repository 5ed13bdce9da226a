//! Everyday things by name, as a table: what they are called, what else might be meant, and what takes them in.

/// Its colour can be read off the middle of its box, and people would name it.
pub(super) const COLOURED: u8 = 1;
/// Whoever describes a picture mentions it, so that five captions without it are some proof.
pub(super) const NOTABLE: u8 = 2;
/// A name for several things that takes them in safely: all that people would call so have boxes of their own where
/// all rows below have.
pub(super) const SPOKEN: u8 = 4;

/// One thing, or several under one name. Lists are separated by commas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// What it is called most.
    pub(super) name: &'static str,
    /// What data sets call it and nobody says.
    pub(super) spelt: &'static str,
    /// What else people call every one of them.
    pub(super) said: &'static str,
    /// What may be one, goes with one, or is taken for one. Never said, and where it is there, absence has no proof.
    pub(super) kin: &'static str,
    /// Names of the rows that take this one in.
    pub(super) under: &'static str,
    pub(super) flags: u8,
}

const fn row(name: &'static str, said: &'static str, kin: &'static str, under: &'static str, flags: u8) -> Row {
    Row { name, spelt: "", said, kin, under, flags }
}

const fn spelt(spelt: &'static str, row: Row) -> Row {
    Row { spelt, ..row }
}

/// Numbered from 1: a new row belongs at the end.
pub(super) const CLASSES: [Row; 80] = [
    spelt("people", row("person", "human", PEOPLE, "", NOTABLE)),
    row(
        "bicycle",
        "bike",
        "cycle, cyclist, bicyclist, biker, tricycle, trike, unicycle, bmx, vehicle, pedal",
        "",
        NOTABLE,
    ),
    row(
        "car",
        "automobile, auto",
        "sedan, suv, van, minivan, taxi, cab, jeep, convertible, hatchback, limo, limousine, racecar, pickup, traffic",
        "vehicle",
        COLOURED | NOTABLE,
    ),
    spelt(
        "motor bike, motor cycle",
        row(
            "motorcycle",
            "motorbike",
            "bike, scooter, moped, biker, motorcyclist, vespa, dirtbike, dirt bike, quad, atv, motocross, motor",
            "vehicle",
            NOTABLE,
        ),
    ),
    row(
        "airplane",
        "plane, aeroplane, aircraft",
        "jet, airliner, jetliner, biplane, bi-plane, seaplane, helicopter, glider, airport",
        "vehicle",
        COLOURED | NOTABLE,
    ),
    row("bus", "", "coach, minibus, van, tram, trolley, streetcar, double decker", "vehicle", COLOURED | NOTABLE),
    row(
        "train",
        "",
        "locomotive, tram, trolley, streetcar, subway, metro, railcar, engine, monorail",
        "vehicle",
        COLOURED | NOTABLE,
    ),
    row(
        "truck",
        "lorry",
        "pickup, van, trailer, semi, suv, jeep, firetruck, fire engine, tractor, ambulance, tanker, dumper",
        "vehicle",
        COLOURED | NOTABLE,
    ),
    row(
        "boat",
        "",
        "ship, vessel, sailboat, yacht, canoe, kayak, raft, ferry, dinghy, gondola, rowboat, speedboat, motorboat, barge, sail, sailing, marina, harbor, kayaker, canoeist, rower",
        "vehicle",
        COLOURED | NOTABLE,
    ),
    row("traffic light", "stoplight, traffic signal", "light, signal, stop light, street light", "", 0),
    row("fire hydrant", "hydrant", "", "", COLOURED),
    row("stop sign", "", "sign, street sign, road sign", "", 0),
    row("parking meter", "", "meter", "", 0),
    row("bench", "", "seat, pew, bleacher", "", 0),
    row(
        "bird",
        "",
        "pigeon, seagull, gull, duck, duckling, goose, swan, parrot, eagle, hawk, owl, chicken, hen, rooster, turkey, penguin, flamingo, ostrich, crow, raven, sparrow, peacock, pelican, heron, egret, stork, crane, parakeet, cockatoo, finch, robin, fowl, puffin, falcon, vulture, pet, poultry",
        "animal",
        COLOURED | NOTABLE,
    ),
    row("cat", "kitty", "kitten, feline, tabby", "animal, pet", COLOURED | NOTABLE),
    row(
        "dog",
        "",
        "puppy, pup, hound, canine, doggy, doggie, mutt, lab, labrador, retriever, poodle, bulldog, terrier, collie, shepherd, husky, dachshund, beagle, chihuahua, corgi, greyhound, spaniel, pug, rottweiler, dalmatian, pitbull, whippet, schnauzer, dane",
        "animal, pet",
        COLOURED | NOTABLE,
    ),
    row(
        "horse",
        "",
        "pony, mare, stallion, foal, colt, donkey, mule, jockey, equestrian, bronco, horseback, rodeo, steed",
        "animal",
        COLOURED | NOTABLE,
    ),
    row("sheep", "", "lamb, ram, ewe, goat, flock", "animal", COLOURED | NOTABLE),
    row(
        "cow",
        "",
        "bull, calf, cattle, ox, oxen, steer, bovine, buffalo, bison, longhorn, yak, herd",
        "animal",
        COLOURED | NOTABLE,
    ),
    row("elephant", "", "", "animal", NOTABLE),
    row("bear", "", "grizzly, polar bear, panda, cub, koala", "animal", COLOURED | NOTABLE),
    row("zebra", "", "", "animal", NOTABLE),
    row("giraffe", "", "", "animal", NOTABLE),
    row("backpack", "rucksack", "pack, bookbag, knapsack, backpacker, satchel", "bag", COLOURED),
    row("umbrella", "", "parasol", "", COLOURED),
    row("handbag", "purse", "tote, clutch, satchel, shoulder bag, pocketbook", "bag", COLOURED),
    row("tie", "necktie", "bowtie, bow tie, tuxedo, suit", "", COLOURED),
    row("suitcase", "", "luggage, baggage, briefcase, trunk, case", "bag", COLOURED),
    row("frisbee", "", "disc, disk", "", COLOURED | NOTABLE),
    row("skis", "pair of skis", "ski, skier, skiing", "", 0),
    row("snowboard", "", "board, snowboarder, snowboarding", "", COLOURED),
    spelt(
        "sports ball",
        row(
            "ball",
            "",
            "football, soccer ball, soccer, baseball, softball, basketball, volleyball, tennis ball, tennis, golf, rugby, beach ball",
            "",
            NOTABLE,
        ),
    ),
    row("kite", "", "parachute, parasail, kitesurfer, sail", "", COLOURED | NOTABLE),
    row("baseball bat", "bat", "batter, batting", "", 0),
    row("baseball glove", "baseball mitt, mitt", "glove, catcher", "", 0),
    row("skateboard", "", "board, skateboarder, skateboarding, longboard, skater", "", 0),
    row(
        "surfboard",
        "",
        "board, surfer, surfing, surf, paddleboard, paddle board, bodyboard, boogie board, wakeboard",
        "",
        COLOURED,
    ),
    row("tennis racket", "racket, tennis racquet, racquet", "tennis, badminton", "", 0),
    row("bottle", "", "flask, jar, beer, wine, soda, ketchup, water bottle, drink, container", "", COLOURED),
    row("wine glass", "glass, wineglass", "goblet, champagne, wine, drink, beverage, flute", "", 0),
    row("cup", "", "mug, glass, coffee, tea, tumbler, drink, beverage, teacup, beer, container", "", COLOURED),
    row("fork", "", "utensil, silverware, cutlery", "", 0),
    row("knife", "", "blade, utensil, silverware, cutlery, sword", "", 0),
    row("spoon", "", "ladle, utensil, silverware, cutlery, spatula", "", 0),
    row("bowl", "", "dish, container, basin, soup", "", 0),
    row("banana", "", "fruit, plantain", "", 0),
    row("apple", "", "fruit", "", COLOURED),
    row("sandwich", "", "burger, hamburger, cheeseburger, sub, panini, toast, bread, bagel, wrap, bun", "", 0),
    row("orange", "", "fruit, tangerine, mandarin, citrus, lemon, grapefruit", "", 0),
    row("broccoli", "", "vegetable, cauliflower", "", 0),
    row("carrot", "", "vegetable", "", 0),
    row("hot dog", "hotdog", "sausage, frankfurter, bun", "", 0),
    row("pizza", "", "slice", "", 0),
    row("donut", "doughnut", "pastry, bagel", "", 0),
    row("cake", "", "cupcake, pastry, dessert, pie, brownie, cheesecake, muffin, cookie", "", 0),
    row(
        "chair",
        "",
        "armchair, stool, seat, recliner, lounger, lawnchair, rocker, wheelchair, furniture",
        "",
        COLOURED,
    ),
    row("couch", "sofa", "settee, loveseat, armchair, futon, sectional, furniture", "", COLOURED),
    spelt(
        "pottedplant",
        row(
            "potted plant",
            "houseplant",
            "plant, flower, bush, tree, fern, cactus, pot, planter, palm, shrub, ivy, foliage",
            "",
            0,
        ),
    ),
    row("bed", "", "bunk, mattress, cot, crib, bedroom, furniture", "", 0),
    spelt(
        "diningtable",
        row("dining table", "table", "desk, counter, bar, island, countertop, buffet, furniture", "", 0),
    ),
    row("toilet", "", "urinal, commode, loo, bathroom, restroom, lavatory", "", COLOURED),
    spelt("tvmonitor, tv monitor", row("tv", "television", "monitor, screen, telly, display, computer", "", 0)),
    row("laptop", "laptop computer, notebook computer", "computer, macbook, notebook, pc, screen", "", 0),
    row("mouse", "computer mouse", "computer, rat, rodent", "", 0),
    row("remote", "remote control", "controller, wii, wiimote, nintendo, game", "", 0),
    row("keyboard", "computer keyboard", "computer, piano", "", 0),
    spelt(
        "cellular phone",
        row("cell phone", "phone, cellphone, mobile phone", "smartphone, iphone, telephone, mobile, call, cell", "", 0),
    ),
    row("microwave", "microwave oven", "", "", COLOURED),
    row("oven", "stove", "range, cooker, stovetop, kitchen", "", COLOURED),
    row("toaster", "", "", "", 0),
    row("sink", "", "basin, washbasin, faucet, tub, bathroom, kitchen", "", COLOURED),
    row("refrigerator", "fridge", "freezer, kitchen", "", COLOURED),
    row("book", "", "novel, magazine, notebook, textbook, binder, bookshelf, bookcase, library, reading", "", COLOURED),
    row("clock", "", "watch, clock tower, time", "", 0),
    row("vase", "", "pot, jar, urn, pitcher, planter", "", COLOURED),
    row("scissors", "pair of scissors", "shear", "", 0),
    row("teddy bear", "stuffed bear", "bear, teddy, stuffed animal, toy, plush, doll, stuffed toy", "", COLOURED),
    spelt("hair drier", row("hair dryer", "hairdryer", "dryer, drier, blow dryer", "", 0)),
    row("toothbrush", "", "brush", "", 0),
];

/// Words that any person may be meant by.
const PEOPLE: &str = "individual, someone, somebody, people, crowd, family, couple, friend, group, team, player, \
    rider, skier, snowboarder, surfer, skater, skateboarder, runner, jogger, biker, cyclist, bicyclist, motorcyclist, \
    climber, hiker, swimmer, diver, dancer, singer, musician, guitarist, drummer, performer, artist, worker, driver, \
    passenger, pedestrian, spectator, fan, audience, onlooker, bystander, student, teacher, coach, referee, umpire, \
    catcher, pitcher, batter, goalie, athlete, wrestler, boxer, fighter, soldier, officer, police, \
    firefighter, guard, vendor, chef, cook, waiter, clown, cheerleader, parent, owner, walker, \
    teenager, teen, youth, adult, young, elderly, elder, member, opponent, teammate, jockey, \
    photographer, tourist, gymnast, racer, kayaker, rower, sailor, guest, they, someone, everyone, band, class, \
    crew, commuter, customer, patron, shopper, pair, \
    trio, human, snowboarding, skiing, surfing, skateboarding, tennis, baseball, soccer";

/// Without numbers: what people name beside them, and names for several.
pub(super) const OTHERS: [Row; 56] = [
    row("vehicle", "", "traffic, transportation", "", SPOKEN),
    row("animal", "", "creature, beast, wildlife, livestock, mammal", "", SPOKEN),
    row("pet", "", "", "animal", 0),
    row("bag", "", "sack, pouch, duffel, luggage", "", 0),
    row(
        "man",
        "guy, gentleman",
        "male, dude, fellow, father, dad, husband, groom, brother, son, grandfather, cowboy, policeman, fireman, fisherman, he, him, his",
        "person",
        NOTABLE,
    ),
    row(
        "woman",
        "lady",
        "female, mother, mom, wife, bride, sister, daughter, grandmother, waitress, policewoman, bridesmaid, she, her, gal",
        "person",
        NOTABLE,
    ),
    row(
        "child",
        "kid",
        "toddler, youngster, schoolchild, preschooler, son, daughter, sibling, teen, teenager, student",
        "person",
        NOTABLE,
    ),
    row("boy", "", "lad, son, brother, male, schoolboy, toddler, teenager, teen, he, his, him", "child", NOTABLE),
    row(
        "girl",
        "",
        "lass, daughter, sister, female, schoolgirl, toddler, teenager, teen, she, her, gal, ballerina",
        "child",
        NOTABLE,
    ),
    row("baby", "infant", "newborn, toddler", "child", NOTABLE),
    row("goat", "", "kid, ram", "animal", NOTABLE),
    row("rabbit", "bunny", "hare", "animal", NOTABLE),
    row("deer", "", "elk, moose, antelope, reindeer, fawn, stag", "animal", NOTABLE),
    row("monkey", "", "ape, chimp, chimpanzee, gorilla, baboon, orangutan", "animal", NOTABLE),
    row("camel", "", "llama, alpaca", "animal", NOTABLE),
    row("donkey", "", "mule, horse", "animal", NOTABLE),
    row("pig", "", "hog, boar, piglet", "animal", NOTABLE),
    row("fish", "", "goldfish, shark, trout, salmon, aquarium, dolphin, whale", "animal", NOTABLE),
    row("squirrel", "", "rodent, chipmunk", "animal", NOTABLE),
    row("tiger", "", "leopard, cheetah, jaguar", "animal", NOTABLE),
    row("lion", "", "lioness", "animal", NOTABLE),
    row("wolf", "", "fox, coyote, husky, dog", "animal", NOTABLE),
    row("snake", "", "reptile, serpent", "animal", NOTABLE),
    row("turtle", "", "tortoise, reptile", "animal", NOTABLE),
    row("crab", "", "crustacean, lobster", "animal", NOTABLE),
    row("instrument", "", "band, music, musician, concert, orchestra", "", 0),
    row("guitar", "", "guitarist, bass, ukulele, banjo", "instrument", NOTABLE),
    row("violin", "", "fiddle, cello, violinist", "instrument", NOTABLE),
    row("drum", "", "drummer, drumset, percussion", "instrument", NOTABLE),
    row("trumpet", "", "horn, trombone, tuba, brass", "instrument", NOTABLE),
    row("piano", "", "keyboard", "instrument", NOTABLE),
    row("saxophone", "sax", "horn", "instrument", NOTABLE),
    row("accordion", "", "", "instrument", NOTABLE),
    row("cart", "", "wagon, carriage, wheelbarrow, stroller, trolley, buggy, pram", "vehicle", NOTABLE),
    row("tractor", "", "bulldozer, excavator", "vehicle", NOTABLE),
    row("helicopter", "", "chopper", "vehicle", NOTABLE),
    row("sled", "sledge", "sleigh, toboggan, sledding, snowmobile, tube", "", NOTABLE),
    row("tent", "", "canopy, camp, camping, campsite", "", NOTABLE),
    row("swing", "", "playground, swinging, hammock", "", NOTABLE),
    row("slide", "", "playground, sliding, waterslide, water slide", "", NOTABLE),
    row("trampoline", "", "bouncing, bounce, jump, jumping", "", NOTABLE),
    row("waterfall", "", "fall, cascade", "water", NOTABLE),
    row("fountain", "", "sprinkler, spray, statue", "water", NOTABLE),
    row(
        "water",
        "",
        "splash, splashing, swim, swimming, sprinkler, surf, surfing, dive, diving, wet, wave, boat, kayak, canoe, raft, fishing, bath, shore, coast, bay, puddle",
        "",
        0,
    ),
    row("ocean", "sea", "wave, surf, beach, surfing, surfer, coast, shore, bay", "water", NOTABLE),
    row("beach", "", "shore, sand, sandy, ocean, sea, coast, wave, surf", "", NOTABLE),
    row("pool", "swimming pool", "swim, swimming, swimmer, dive, wading pool", "water", NOTABLE),
    row("lake", "pond", "", "water", NOTABLE),
    row("river", "stream, creek", "rapid, kayak, canoe", "water", NOTABLE),
    row(
        "snow",
        "",
        "snowy, winter, ski, skiing, skier, snowboard, snowboarder, snowboarding, ice, icy, sled, slope",
        "",
        NOTABLE,
    ),
    row(
        "mountain",
        "",
        "hill, cliff, peak, summit, slope, hillside, mountainside, rock, canyon, mountaintop, climber, climbing, hike, hiking, hiker",
        "",
        NOTABLE,
    ),
    row("statue", "", "sculpture, monument, figure", "", NOTABLE),
    row("balloon", "", "ball", "", NOTABLE),
    row("campfire", "bonfire", "fire, flame, smoke", "", NOTABLE),
    row(
        "clothing",
        "clothes",
        "shirt, t-shirt, jacket, hat, cap, dress, uniform, pants, suit, shorts, sunglasses, helmet, sweater, costume, outfit, scarf, coat, jeans, skirt, glove, robe, apron, vest, swimsuit, bikini, sweatshirt, hoodie, boot, shoe, goggles, headband, necklace, jersey, gown, mask, top, trunks, tie",
        "",
        NOTABLE,
    ),
    row(
        "body part",
        "",
        "mouth, hair, face, hand, head, arm, leg, tongue, eye, beard, nose, ear, foot, tooth, neck, shoulder, finger, mohawk, chest, paw, tail, lip, smile",
        "",
        NOTABLE,
    ),
];
