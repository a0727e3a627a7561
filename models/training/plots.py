"""The plots of the story grammar.

A plot is (request, theme, scenes).  A scene is one paragraph.  [a|b|c] is a
choice, which may nest and may be empty.  {slots} are filled by grammar.py:
  H he him his kind trait    the hero: name, pronouns, what it is, what it is like
  F fhe fhim fhis fkind      the friend
  E                          somebody older and wiser
  P Q                        two places with their prepositions
  o look o2                  a thing, what it looks like, another thing
  d, w, game, fear           food, weather, a game, a fear
  skill skilling skilled     something one can learn
"""

OPENINGS = """[Once upon a time, there was|Once upon a time there lived|There once was|Once there was|Long ago, there was|Long, long ago, there was] a {trait} {kind} [named|called] {H}.
[Once upon a time|Once|Long ago], {P}, there lived a {trait} {kind} [named|called] {H}.
{H} was a {trait} {kind} who lived {P}.
{H} the {kind} lived {P}.
[One|It was a] {w} [morning|day|afternoon], [and |]{H} the {kind} [was sitting|was playing|was resting|was walking] {P}.
[One day|One {w} morning|One {w} afternoon|Early one morning], a {trait} {kind} named {H} [went for a walk|was walking|was playing] {P}.
{P}, [in a small house|in a little house with a {look} door|in a house with a red roof], lived a {trait} {kind} named {H}.
This is the story of {H}, a {trait} {kind} who lived {P}.
[Have you ever met|Do you know] {H}? {H} was a {trait} {kind} who lived {P}.
[In a land far away|Far away|In a small country by the sea], a {trait} {kind} named {H} lived {P}.""".split("\n")

ABOUT = """Every [day|morning|evening], {he} [ate some {d}|drank a cup of tea|sang a little song|looked out of the window|said good morning to the sun] and [played {game}|watched the clouds|looked for {look} stones|talked to the birds|sat in the sun].
{he} [loved|liked] {d} [more than anything|very much] and [never said no to|always had time for] a game of {game}.
{he} had a {look} {o2} and a [big|warm|kind] heart.
Everybody {P} knew {him}, because {he} was so {trait2}.
{his} best friend was a {trait2} {fkind} named {F}, and they did everything together.
{he} could be very {trait2}, but [nobody knew it|only {his} friends knew it|{he} did not know it yet].
[Most days were the same|Nothing much ever happened there], but this day was [different|special].
{he} lived there with {his} [mother|father|family|grandmother|two brothers|three sisters], and they were [happy|never bored].
""".split("\n")

ENDINGS = {
 "kind": """From that day on, {H} and {F} were the best of friends. [They knew that a little kindness can go a long way.|They shared everything, even the last piece of {d}.]
{H} [went to bed|fell asleep] with a smile that night. It feels good to be kind.
"A kind heart is worth more than gold," said {E}. And {H} knew that it was true.
And whenever somebody needed help, {H} was the first to come.
After that, nobody {P} was ever lonely again.""",
 "brave": """[That night|When the moon came up], {H} felt [proud|tall and strong]. Being brave does not mean that you are never afraid. It means that you try anyway.
From that day on, everybody called {him} {H} the Brave.
"You were very brave," said {E}, and {H} [smiled from ear to ear|blushed|felt warm inside].
And {H} was never so afraid again.
{H} told the story many times, and every time it became a little [longer|more exciting].""",
 "honest": """{H} felt light as a feather. It is always better to tell the truth.
From that day on, {H} always told the truth, even when it was hard.
"Everybody makes mistakes," said {E}. "But not everybody says so. I am proud of you."
And {H} [learned|knew] that a true friend [forgives|will always forgive].
{H} slept well that night, because there was no lie left to hide.""",
 "patient": """{H} had learned that good things take time.
"Slow and steady," said {E} with a smile, and {H} laughed.
From that day on, {H} never gave up too soon.
And so {H} learned that those who wait and work will [win|be happy] in the end.
{H} was [happy|proud]. It had been hard work, but it was worth it.""",
 "home": """[At home|Back home], supper was waiting, with {d} and tea, and {H} [ate everything|had never been so hungry]. It is nice to travel, but it is best to come home.
{H} was so tired that {he} fell asleep at once, and {he} dreamed of {his} adventure.
From that day on, {H} always [told somebody where {he} was going|looked carefully at the way].
"Welcome home," said {E}. And {H} was glad to be back.
And if you go there today, you may still see {H} and {F} walking home together.""",
 "joy": """It was the best day of {his} life.
[They laughed and danced|They sang and played {game}] until the stars came out.
{H} [smiled|was happy], and {F} was happy too. And they all lived happily ever after.
And that is how {H} and {F} [became|stayed] friends for ever.
"[Let us do it again tomorrow|What a wonderful day]," said {F}, and {H} [agreed|nodded|laughed]."""}

CLOSINGS = ["", "", "", "", "\n\nThe end.", "\n\nThe end.", " And they lived happily ever after.", "\n\nAnd that is the end of the story."]

def P(request, theme, *scenes):
    return request, theme, scenes

PLOTS = [
P("loses a {o} and looks for it everywhere", "kind",
"[One day|But one {w} day|One morning], {H} could not find {his} {look} {o}. [\"Oh no! Where is my {o}?\" {he} cried.|\"My {o} is gone!\" cried {H}.|It was not in its place.] {he} looked under the bed, behind the door and [in the kitchen|in the garden|in every box], but the {o} was not there.",
"{H} went [outside|out] and met {F} the {fkind}. \"[Have you seen my {o}?|Did you see my {o}?] It is {look},\" said {H}. \"[No, I have not|I am sorry, I have not seen it],\" said {F}. \"[But I will help you look|But two can look better than one|Let us look together].\"",
"[Together they looked {Q}.|They walked and walked until they were {Q}.] They looked [high and low|under every stone|behind every tree]. [They found a {o2}, but no {o}.|They found a nest, a shoe and an old {o2}, but they did not find the {o}.|It was getting late, and {H} wanted to cry.] [\"Do not give up,\" said {F}.|\"We must keep looking,\" said {F}.|\"Where did you have it last?\" asked {F}.]",
"[Then|Suddenly|At last], {F} [saw something {look}|saw something in the grass|heard a small sound]. [\"Look there!\" cried {F}.|\"What is that?\" asked {F}.] [It was the {o}!|There was the {o}, right under a leaf!|It was the {look} {o}!] {H} [jumped for joy|was so happy that {he} danced|hugged {his} friend]. \"[Thank you, thank you|Thank you so much], {F}!\" said {H}."),
P("finds a {look} {o} and wants to know whose it is", "honest",
"[One day|One {w} morning|On the way home], {H} found a {look} {o} {Q}. [It was so pretty that {he} wanted to keep it.|\"How beautiful!\" said {H}. \"I wish it were mine.\"|{he} picked it up and looked at it from all sides.] But [somebody must have lost it|it belonged to somebody else|{he} knew that it was not {his} {o}].",
"[So|First,] {H} asked {E}. \"Is this your {o}?\" \"[No, my {o} is much bigger|No, I have never seen it],\" said {E}. \"[Ask the others|Maybe somebody is looking for it right now].\" So {H} [walked on|went on|asked everybody on the road], with the {o} in {his} [hands|bag|arms].",
"[After a while|By and by|Then], {he} heard somebody crying. It was {F} the {fkind}. \"[Why are you crying?|What is wrong?|Why are you so sad?]\" asked {H}. \"I lost my {o},\" said {F}. \"[It was a gift from my grandmother|My father made it for me|It is the only one I have].\"",
"[{H} smiled and held out the {o}.|\"Is it this one?\" asked {H}.] {F} [stopped crying at once|could not believe it|laughed and cried at the same time]. \"[That is my {o}!|You found it!] [How can I thank you?|You are so honest!]\" {F} gave {H} [some {d}|a big hug|a little {o2}], and they [sat down and talked|played {game}] until [evening|the sun went down]."),
P("wants to learn to {skill}", "patient",
"More than anything, {H} wanted to {skill}. [But {he} did not know how.|{he} had seen {F} the {fkind} do it, and it looked so easy.|{he} dreamed of it every night.] \"[I wish I could {skill}|One day I will {skill}],\" said {H}.",
"[So one {w} day {he} tried.|The next morning, {he} tried for the first time.] It [did not go well|was harder than {he} thought|went all wrong]. [Some of the others laughed.|{he} fell over and hurt {his} knee.|After an hour, {he} was tired and sad.] \"[I cannot do it|I will never learn it|It is too hard for me],\" {he} said.",
"{F} [heard {him}|sat down next to {him}|came by]. \"[I could not do it at first either|Nobody can do it on the first day|It took me a whole year],\" said {F}. \"[Let me show you|I will teach you|Watch me, and then try again].\" [So they practiced {skilling} together, a little every day.|Every day after lunch, they met {Q} and practiced.] [Some days it went well, and some days it did not.|First {H} was slow, but {he} became better and better.]",
"[And then, one {w} day|After many weeks|At last], it worked! {H} {skilled}, and {he} did it [all alone|without any help|very well]. {F} [clapped|cheered|was so proud]. \"[You did it!|I knew that you could do it!]\" [{E} saw it too and smiled.|Everybody came to look.|They ate some {d} to celebrate.]"),
P("is afraid of {fear} and learns to be brave", "brave",
"But {H} had a secret: {he} was afraid of {fear}. [Whenever {he} thought of it, {his} knees began to shake.|{he} never told anybody, because {he} thought that they would laugh.|At night {he} could not sleep because of it.]",
"[One {w} evening|One day], {F} the {fkind} [came running|knocked at the door|called for help]. \"[Please come quickly!|Help me, {H}!] [My little brother is lost {Q}|My {o} is still {Q}, and I need it|A baby bird fell out of its nest {Q}],\" said {F}. {H} [swallowed|stood very still|looked at the floor]. To go there, {he} would have to face {fear}.",
"\"[I am afraid of {fear}|I am scared],\" said {H} [quietly|in a small voice]. \"[I am scared too|Everybody is afraid of something],\" said {F}. \"[But together we can do it|Take my hand|We can be scared together].\" So they [walked slowly|went step by step|held hands and went on]. [{H} sang a song to feel better.|{H} counted to ten, and then to ten again.|{his} heart was beating like a drum.]",
"[And what do you think happened?|And then something strange happened.] [Nothing bad happened at all.|It was not so bad.|After a while, {H} forgot to be afraid.] They [did what they had come to do|found what they were looking for], and they [went home|came back] safe and sound. \"[You were not afraid!|You saved the day!]\" said {F}. \"[I was|I was very afraid],\" said {H}. \"[But I did it anyway|But I am not afraid now].\""),
P("meets a {fkind} and makes a new friend", "joy",
"[But {H} had nobody to play with.|Sometimes {he} felt lonely.|{he} wished for a friend.] [\"It is no fun to play {game} alone,\" {he} said.|All the others were busy.|Every evening {he} ate {his} {d} alone.]",
"[One day|One {w} afternoon], {he} saw somebody new {Q}. It was a {fkind} [with a {look} {o}|with a big bag|who was drawing in the sand]. [{H} wanted to say hello, but {he} was too shy.|{H} hid behind a tree and watched.|\"Hello,\" said {H}. \"Who are you?\"] [\"Hello! My name is {F},\" said the {fkind}. \"I am new here.\"|The {fkind} smiled. \"I am {F}. I do not know anybody here.\"]",
"[\"Do you want to play {game}?\" asked {H}.|\"Would you like some {d}?\" asked {H}.|\"May I sit with you?\" asked {H}.] \"[Yes, please!|I would love to!|I was hoping that you would ask!]\" said {F}. [They played all afternoon.|They talked and laughed for hours.|{F} showed {H} the {o}, and {H} showed {F} the best places {Q}.]",
"When [the sun went down|it was time to go home], {F} said, \"[I was so afraid that I would not find a friend here|I am glad that I met you].\" \"[Me too|So am I],\" said {H}. \"[See you tomorrow!|Will you come back tomorrow?|Tomorrow I will show you my house.]\""),
P("helps a {fkind} who is lost", "kind",
"[One {w} day|One evening], {he} heard somebody crying {Q}. {H} [went to look|followed the sound|stopped and listened]. There sat a little {fkind}, [all alone|cold and wet|with big tears on {fhis} face].",
"\"[What is the matter?|Why are you crying?|Are you hurt?]\" asked {H}. \"[I am lost|I cannot find my way home],\" said the little {fkind}. \"My name is {F}. [I followed a butterfly, and now I do not know where I am|I only wanted to look around, and then everything looked the same].\" \"[Do not worry|Do not cry],\" said {H}. \"[I will help you|We will find your home].\"",
"{H} gave {F} some {d}. \"[What does your home look like?|What is near your house?]\" {he} asked. \"[There is a {look} door|There is a big tree with a swing|There is an old windmill],\" said {F}. They [walked|went] [over the hill and across the stream|past the mill and along the road|through the trees]. [They asked {E}, who knew the way.|On the way, they sang songs so that {F} would not be sad.|When {F} was tired, {H} carried {fhim}.]",
"[At last|Finally|Then], {F} [cried, \"I can see it! There is my house!\"|pointed and shouted, \"There it is!\"|began to run toward it.] {F}'s mother [ran out of the door|was standing at the gate|hugged them both]. \"[Thank you for bringing my child home|How can I ever thank you],\" she said. [She gave {H} a basket of {d}.|They all sat down and ate {d}.|{H} stayed for supper.]"),
P("gets lost {Q} and finds the way home", "home",
"[One {w} day|One morning], {H} [went out to look for {d}|followed a {look} butterfly|wanted to see what was behind the hills]. {he} walked and walked, and soon {he} was {Q}. [{he} had never been there before.|Everything was new and strange.]",
"[When {he} wanted to go back, {he} did not know the way.|{he} turned around, but all the paths looked the same.] \"[Oh dear, I am lost|Which way is home?],\" said {H}. [It was getting dark, and the wind was cold.|A few drops of rain began to fall.|{he} sat down on a stone and began to cry.]",
"[Just then|After a while], a {fkind} came along. \"[Are you lost?|You look sad. Can I help you?]\" asked the {fkind}. \"I am {F}. [When I am lost, I look for the river, because it always flows to the village|When I am lost, I listen|When I am lost, I climb up and look around].\" So [they listened, and far away they heard a bell|they looked around, and far away they saw a light|they followed the water together].",
"[\"I am almost there!\" cried {H}.|\"I know that place!\" cried {H}.|Step by step, they came closer.] {H} ran down the path, and there was {his} own little house. {his} [mother|father|family] [was waiting at the door|had been looking for {him} all day]. {H} [asked {F} to stay for supper|thanked {F} again and again], and they all ate {d}."),
P("breaks a {o} and tells the truth", "honest",
"[One day|One {w} day], {H} was playing {game} in the house[, although it was not allowed| of {E}|]. [{he} ran too fast|{he} jumped too high|{he} did not look where {he} was going], and crash! The {look} {o} of {E} fell down and broke.",
"{H} [was very scared|did not know what to do|looked at the pieces]. [\"Nobody saw it,\" {he} thought. \"I could hide it.\"|{he} put the pieces under the rug and ran away.|\"I will say that the wind did it,\" {he} thought.] But {he} [felt bad|had a stone in {his} stomach|could not eat {his} {d}]. [All day long {he} thought of the {o}.|{he} could not even play.]",
"{F} the {fkind} saw that something was wrong. \"[What is it?|Why do you look so sad?]\" asked {F}. {H} told {fhim} everything. \"[You must tell the truth|Go and say it],\" said {F}. \"[I will come with you|It will only get worse if you wait].\"",
"So {H} went to {E} and said, \"[I broke your {o}|It was me. I broke the {o}]. I am very sorry.\" {E} was quiet for a moment. \"[Thank you for telling me|I am sad about the {o}, but I am glad that you told me],\" said {E}. \"[A {o} can be mended, but trust is hard to mend|Come, we will mend it together].\" [They took some glue and mended the {o}.|{H} worked hard all week to pay for a new one.]"),
P("shares some {d} with a {fkind}", "kind",
"[One day|One {w} day], {H} had some {d} for lunch. [It was a fine day for a meal outside.|There was nothing else to eat in the house.] {he} sat down {Q} and [wanted to eat|took the first bite].",
"[Then {he} saw|Just then there came] {F} the {fkind}. {F} [looked thin and tired|was looking at the {d}|had not eaten all day]. \"[I am so hungry|I have nothing to eat today],\" said {F}. {H} looked at the {d}. [There was not very much.|It was all that {he} had.|{his} stomach was rumbling.]",
"[{H} thought for a moment.|\"If I share, I will still be hungry,\" {he} thought. \"But if I do not share, {F} will be very hungry.\"] [Then {he} made two equal parts.|Then {he} smiled.] \"[Here, half is for you|Come and eat with me],\" said {H}. {F} [ate and ate|could not stop saying thank you|was so happy]. [And somehow the {d} tasted better than ever.|They told each other stories while they ate.]",
"[Some weeks later|The next winter|A few days later], {H} [had nothing to eat|was ill and could not go out|lost everything in a storm]. There was a knock at the door. There stood {F} with a big basket of {d}. \"[You shared with me when I was hungry|You helped me once],\" said {F}. \"[Now I will share with you|Now it is my turn].\""),
P("plans a surprise party for a {fkind}", "joy",
"{H} had a plan. [Tomorrow|On Sunday|In two days] was the birthday of {F} the {fkind}. \"[We will make a surprise party|Let us have a party],\" said {H} to {E}. \"[But {F} must not know|It must be a secret].\"",
"[So everybody helped.|They worked all day.] {H} [made a cake|baked cookies|cooked a big pot of soup], and {E} [hung up {look} ribbons|brought a {look} {o}|wrote the letters]. [\"What are you doing?\" asked {F}. \"Oh, nothing,\" said {H} quickly.|Once {F} almost saw the cake, but {H} sat down in front of it.]",
"But {F} [was sad|felt lonely]. [Nobody had time to play.|Everybody was whispering.] \"[They have forgotten my birthday|Nobody likes me any more],\" thought {F}. {F} sat {Q}, all alone. When the party was ready, {F} was gone! {H} [ran to look for {fhim}|looked everywhere].",
"At last {H} found {fhim}. \"[Come quickly, I need your help|There is something at home that you must see],\" said {H}. When they opened the door, everybody shouted, \"Happy birthday, {F}!\" {F} [cried for joy|could not say a word|jumped up and down]. [Everybody got some {d}.|There was music, and there were games.] [\"I thought that you had forgotten me,\" said {F}. \"Never,\" said {H}.|The best gift was a {look} {o} from {H}.]"),
P("saves a {fkind} from a storm", "brave",
"[One day|One afternoon], the sky became [dark|black|gray]. [The wind began to blow.|A big storm was coming.] Everybody ran home and closed the doors. But then {H} heard a cry [from far away|through the rain]. \"[Help! Help!|Please help me!]\"",
"It was {F} the {fkind}. {F} was {Q} and could not [get away|come down|move]. [The water was rising.|A tree had fallen on the path.|The wind was too strong.] {H} was afraid of the storm. But [{he} could not leave {F} alone|somebody had to do something].",
"{H} took a [long rope|strong rope|lantern and a rope] and ran out into the rain. \"Hold on!\" {he} shouted. {he} tied one end to a [tree|big stone] and threw the other end to {F}. \"[Now hold it tight!|Do not let go!]\" {H} [pulled and pulled|pulled with all {his} strength]. [Once {he} slipped, but {he} did not let go.|The thunder was loud, but {he} did not stop.]",
"At last {F} was safe. They ran to the house and [made a fire|drank hot tea|put on dry clothes]. \"[You saved my life|I will never forget this],\" said {F}. [In the morning, the sun came out, and there was a rainbow over the hills.|Outside, the storm went on, but inside it was warm. They ate {d} and listened to the rain.]"),
P("quarrels with a {fkind} about a {o} and makes peace", "kind",
"[One day|One {w} day], {H} and {F} the {fkind} found a {look} {o} {Q}. \"[It is mine|I saw it first]!\" said {H}. \"[No, it is mine|No, I saw it first]!\" said {F}. [They both pulled at it.|They shouted at each other.] Soon they were very angry, and they went home without a word.",
"[The next day|For three days], they did not speak. {H} had the {o}, but [it was no fun to have it alone|{he} did not want to look at it]. [\"I miss {F},\" {he} thought.|{he} could not play {game} alone.] {F} sat at home and was sad too.",
"{E} saw it and asked, \"[Where is your friend?|Why are you alone?]\" {H} told the whole story. \"[What is better|What do you want more],\" asked {E}, \"[a {o} or a friend|the {o} or your friend]?\" {H} did not have to think for long.",
"{H} took the {o} and went to {F}. On the way, {he} met {F}, who was coming to {him}! \"I am sorry,\" they both said at the same time, and then they laughed. \"[You can have the {o}|Take it],\" said {H}. \"[No, let us share it|We can use it together],\" said {F}. [So {H} had it one day, and {F} the next.|And so they did.]"),
P("plants a seed and waits for it to grow", "patient",
"[One day|In spring], {E} gave {H} a [small brown|tiny|little round] seed. \"[Plant it and take good care of it|Put it into the earth and wait],\" said {E}. {H} [dug a hole|found a sunny place {Q}] and planted the seed.",
"[The next day|Every morning], {H} ran to look. Nothing had happened. [\"Grow, little seed!\" said {H}.|{he} sang to it.|{he} gave it some water.] [After a week, there was still nothing.|The days went by, and still there was nothing.] \"[Maybe it is a bad seed|It does not like me],\" said {H}. {F} the {fkind} [laughed|said, \"Forget it. Come and play.\"]",
"But {H} did not give up. {he} [gave it water every day|pulled out the weeds|chased the crows away]. [When it was hot, {he} gave it shade.|When it was cold, {he} covered it with leaves.] And one {w} morning, there was a tiny green leaf! \"[It is growing!|Look, look!]\" cried {H}.",
"The plant grew and grew. [In summer, it was taller than {H}.|Soon it was as high as the house.] It had [big yellow flowers|a hundred red flowers|sweet red berries|the best apples of all]. Even {F} came to look. \"[I am sorry that I laughed|How did you do it?],\" said {F}. \"[I waited|With water and time],\" said {H}."),
P("builds a {o} with a {fkind}", "patient",
"[One day|One {w} day], {H} saw a {o} in a [window|picture book|shop]. \"[I want to have one like that|How I would love to have one],\" said {H}. But {he} had no money. \"[Then we will build one|We can make one ourselves],\" said {F} the {fkind}.",
"They [looked for wood and paper|collected old boxes|found some wood {Q}]. {H} [cut the pieces|held the wood], and {F} [used the hammer|brought the glue]. [It took all morning.|They worked until lunch and ate some {d}.] But when it was ready, it [fell apart|looked like a potato|broke in two].",
"{F} wanted to [stop|throw it away]. \"[We are not good at this|It is no use],\" said {F}. \"[Let us ask {E}|Let us try once more],\" said {H}. [{E} looked at it and said, \"You went too fast. Measure first, and then cut.\"|They thought about what had gone wrong. The pieces were too thin.] So they started again, [slowly and carefully|step by step].",
"[This time|After two days], it was [strong|perfect|even better than the one in the window]. They painted it [red|blue|green|red and yellow|in all colors]. It was not perfect, but it was their own {o}. [Everybody wanted to see it.|{E} clapped.] \"[We made it ourselves!|Look what we can do together!]\" said {H}."),
P("cannot sleep at night", "home",
"[One night|One {w} night], {H} could not sleep. [The moon was too bright.|It was too quiet.|The bed was too hard.] {he} turned to the left, and {he} turned to the right. {he} [counted sheep|drank some milk|closed {his} eyes very tight], but it did not help.",
"So {H} got up and went outside. [The stars were shining.|The grass was wet.] There was {F} the {fkind}, who was [looking at the stars|sitting on a wall]. \"[Can you not sleep either?|Why are you awake?]\" asked {F}. \"No,\" said {H}. \"[I have too many thoughts in my head|I do not know why].\"",
"\"[Tell me your thoughts|When I cannot sleep, I tell a story],\" said {F}. So they [sat down under a tree|lay down in the grass], and {H} told {F} about [the {look} {o}|a dream|everything that had happened that day]. {F} told {H} about [the moon|a far country|the sea]. [An owl called far away.|The wind was soft and warm.] Their voices became slower and slower.",
"\"[And then|And so],\" said {F}, but {H} [was already asleep|did not hear it]. {F} [smiled and put a blanket over {him}|carried {him} home]. When {H} woke up, [the sun was shining|it was morning], and the birds were singing."),
P("takes care of a sick {fkind}", "kind",
"[One day|One {w} day], {F} the {fkind} did not come out to play. {H} waited and waited. Then {he} went to {F}'s house and knocked. \"[Come in|Who is there?],\" said a weak voice. {F} was in bed and [had a cold|was very hot|looked pale].",
"\"[You are ill!|Oh, poor {F}!]\" said {H}. \"[I will take care of you|Stay in bed, I will help you].\" {H} [cooked some soup|made hot tea|brought some {d}] and [put a cool cloth on {F}'s head|found a warm blanket|opened the window]. But {F} did not get better.",
"So {H} went to {E}. \"[What can I do for my friend?|{F} is ill. What can I do?]\" {he} asked. \"[There is a flower that helps. It grows {Q}|You need fresh herbs. They grow {Q}],\" said {E}. It was a long way, [and it was raining|and the night was near|but {H} did not mind]. {H} [ran all the way|walked for hours], and {he} found it at last.",
"{H} made tea from it, and {F} drank it all. {H} sat by the bed [all night|and read a story|and sang softly]. In the morning, {F} [sat up and smiled|said, \"I am hungry!\"|was well again]. \"[You are the best friend in the world|Thank you for staying with me],\" said {F}."),
P("goes on a trip", "home",
"{H} wanted to see the world. [\"There must be more than this,\" {he} said.|{he} had read about it in books.|{he} looked at the hills and dreamed.] So one {w} morning, {he} packed some {d} and a {o2}, and {he} [said goodbye|went on {his} way].",
"First {he} came to a [river|wide stream]. There was no bridge. A {fkind} sat there with a small boat. \"[Can you take me across?|May I come with you?]\" asked {H}. \"[Yes, if you tell me where you are going|Gladly. My name is {F}],\" said the {fkind}. \"[I am going to see the world|I want to see what is on the other side],\" said {H}. \"[Then I will come along|That sounds like fun. I will go with you],\" said {F}.",
"They [walked for many days|saw many things]. They saw [a mountain with snow on top|a city with a thousand lights|the wide blue sea], and they met [a king without a crown|a man who talked to birds|a very old tree]. [At night they slept under the stars.|They ate {d} and sang songs.] {Q}, they found a {look} {o}, and {H} put it into {his} bag.",
"But one evening, {H} [looked at the moon|became quiet]. \"[It is the same moon as at home|I miss my own bed],\" {he} said. \"[Then let us go back|It is time to go home],\" said {F}. The way home was [shorter than the way out|long, but they did not mind]. Everybody wanted to hear about the trip, and {H} [showed them the {o}|told them everything]."),
P("wants to have the {o} of a {fkind} and learns not to be greedy", "honest",
"{F} the {fkind} had a {look} {o}. {H} wanted it very much. [\"Why does {F} have it, and not me?\" {he} thought.|{he} already had many things, but not a {o} like that.] Every day {he} looked at it.",
"One {w} night, {H} [went quietly to {F}'s house|opened {F}'s window] and took the {o}. {he} ran home and hid it [under the bed|in a box|behind the stove]. [At first {he} was happy.|\"Now it is mine,\" {he} said.] But {he} could not show it to anybody. {he} could only look at it in the dark.",
"The next day, {F} was crying. \"[Somebody took my {o}|My {o} is gone],\" said {F}. [Everybody helped to look for it, and {H} had to help too.|{H} looked at {his} feet.] {H} felt [hot and cold|very bad|smaller and smaller]. A {o} that makes a friend cry is not a good {o}.",
"In the evening, {H} brought the {o} back. \"I took it,\" {he} said. \"[I am so sorry|It was wrong, and I am ashamed].\" {F} was [angry at first|quiet for a long time]. Then {F} said, \"[If you had asked, I would have shared it with you|Thank you for bringing it back. Next time, please ask].\" And they [played with it together|shook hands]."),
P("wins a race against a {fkind}", "patient",
"{F} the {fkind} was very fast, and {fhe} told everybody so. \"[Nobody can run like me|I am the fastest of all],\" said {F}. \"[Will you race with me?|Then let us have a race],\" said {H}. Everybody laughed. {H} was [not fast at all|small and slow].",
"The next day, they all came to watch. {E} counted, \"One, two, three, go!\" {F} ran like the wind. {H} ran too, [one step after the other|as well as {he} could]. Soon {F} was far ahead. \"[This is too easy|I have so much time],\" said {F}, and {fhe} [lay down to sleep|stopped to eat some {d}|stopped to talk with friends] {Q}.",
"{H} was [tired|hot], and {his} legs hurt. But {he} did not stop. [\"Step by step,\" {he} said to {himself}.|{he} did not look left or right.] {he} passed [the old tree|the mill|the bridge], and {he} passed {F}, who [was still asleep|was still eating|was still talking].",
"When {F} looked up, {H} was almost there. {F} jumped up and ran as fast as {fhe} could, but it was too late. {H} [won the race|was the first]! Everybody cheered, and {E} gave {H} a {look} {o}. {F} came and [shook {his} hand|said, \"Well done\"]. \"[I was too proud|Next time I will not stop],\" said {F}, and they both laughed."),
P("discovers a secret door", "brave",
"[One day|One {w} day], {H} found a little door {Q}. It was {look} and [covered with leaves|no higher than a chair]. [{he} had never seen it before.|There was no name on it.] \"[Where does it go?|Who lives here?]\" asked {H}. But the door was locked.",
"{H} ran to {F} the {fkind}. \"[I found a secret door!|Come quickly, I must show you something!]\" Together they looked for the key. They looked under [stones|the mat|leaves], and at last {F} found a small {look} key [in a flower pot|on a nail|in a hole in a tree]. [The key turned with a click.|It fit!] {H} opened the door [slowly|very carefully].",
"Behind the door it was dark, and there were stairs. {F} wanted to go home, but {H} took a lantern. \"[Stay close to me|We will only take a look],\" {he} said. They went down, [step by step|holding hands]. At the end there was a room full of [old books|toys|clocks|paintings], and in the middle stood a {look} {o}. [There was a note on it.|Dust was everywhere.]",
"\"Who is there?\" said a voice. It was {E}! \"[This was my secret room when I was young|I have been looking for this key for years],\" said {E}. \"[Now it can be yours too|You may come here whenever you like].\" From then on, {H} and {F} [went there every week|read there on rainy days], and {E} told them stories and gave them {d}."),
P("has a bad day that becomes a good day", "joy",
"[It was a bad day.|Everything went wrong that day.] First {H} [fell out of bed|burned the toast|could not find {his} shoes]. Then [it began to rain|{he} stepped into a puddle|the milk was sour]. [Then {his} {o} broke.|And then {he} lost {his} {o}.] \"[What a terrible day|I want to go back to bed],\" said {H}.",
"{he} went out with a face like a rain cloud. {Q}, {he} met {F} the {fkind}, who was [whistling|humming a song]. \"[Why are you so happy? It is a bad day|Stop that],\" said {H}. \"[Is it?|What happened?]\" asked {F}. {H} told everything. {F} listened and nodded.",
"\"[I see|That sounds bad],\" said {F}. \"[But look, the rain makes good puddles|But the day is not over yet].\" And {F} jumped right into a puddle. Splash! {H} was wet from head to toe. First {he} was angry. But then [{he} began to laugh|{he} had to smile]. {H} jumped too, and the water flew everywhere.",
"They [jumped in every puddle|splashed and laughed] until the sun came out. Then they [ate some {d}|dried their clothes in the wind|found a {look} {o} in the grass]. \"[It was not such a bad day|This is the best bad day that I ever had],\" said {H}. \"[You only had to turn it around|I told you so],\" said {F}."),
P("makes a gift for a {fkind}", "joy",
"It was almost [winter|the birthday of {F} the {fkind}|the day of the big feast], and {H} wanted to give {F} the {fkind} a gift. But {he} had only one coin. [In the shop, everything was too expensive.|\"What can I get for one coin?\" {he} asked.]",
"\"[A gift does not have to come from a shop|The best gifts are made by hand],\" said {E}. {H} thought about it [all night|for a long time]. What did {F} like? {F} liked {d}, and {F} liked {game}. [But most of all, {F} always wanted a {look} {o}.|And {F} was always cold.] Then {H} had an idea.",
"{he} [collected wool and wood|bought [yellow|blue|red] paint with the coin|looked {Q} for what {he} needed]. {he} worked every evening [by the light of a candle|until {his} fingers hurt]. [Twice {he} had to start again.|Nobody was allowed to come in.] At last, the {o} was ready. It was a little crooked, but {H} had made it with love.",
"{F} opened the box [slowly|very fast], and {fhis} eyes became big. \"[Did you make this yourself?|It is the most beautiful {o} in the world!]\" {F} had a gift for {H} too: [a {o2}|a basket of {d}], and {fhe} had made it {fhimself}. They [laughed|hugged], and outside [it began to snow|the bells were ringing]."),
P("follows a {look} bird and finds a treasure", "brave",
"One {w} morning, a {look} bird sat on the window. It sang [three times|a strange song] and flew a little way, and then it looked back. \"[It wants me to follow it|Where are you going, little bird?],\" said {H}. {he} called {F} the {fkind}, and they ran after the bird.",
"The bird flew [over the fields|from tree to tree|along the river], and it always waited for them. {Q}, it sat down on an old stone. [Under the stone there was a map.|There was a cross on the stone.] \"[Dig here|This is the place],\" said {F}. They dug with their hands and with a stick, [and soon they were covered with mud|for an hour].",
"[Then the stick hit something hard.|\"There is something!\" cried {H}.] It was an old box. [It was heavy|It was locked], and they needed all their strength to open it. Inside there was no gold. There was a {look} {o}, a {o2} and a letter. \"[Whoever finds this box was brave enough to follow a bird|The real treasure is the friend who came with you],\" said the letter.",
"{H} looked at {F}, and {F} looked at {H}. [\"It is true,\" said {H}.|They both smiled.] They took the {o} home and [put it on the shelf|showed it to {E}]. \"[I wrote that letter when I was a child|I wondered who would find it],\" said {E}, and the {look} bird sang outside."),
P("wants to touch the moon", "joy",
"{H} had one big wish: {he} wanted to touch the moon. Every night {he} looked at it and held up {his} hands. \"[It is so near|It looks like a big round cheese],\" {he} said. First {he} climbed on a [chair|box], and then on the roof, but the moon was too far away.",
"\"[I will help you|Let us go higher],\" said {F} the {fkind}. They climbed on the highest [tree|hill|tower] {Q}. {F} stood at the bottom, and {H} stood on {F}'s shoulders. [But the moon was still too far.|They fell down and landed in the grass.] \"[We need a longer ladder|It moves away from us],\" said {F}.",
"They asked {E}. {E} did not laugh. \"[Nobody can climb to the moon|You cannot go up to the moon],\" said {E}. \"[But sometimes the moon comes down to us|But you can make it come to you]. Come with me.\" They went to the pond. The water was [quiet|as smooth as a mirror], and in the middle swam the moon, round and white.",
"{H} put {his} hand into the water and touched the moon. It was [cool and soft|wet], and it [broke into a thousand pieces of light|danced]. Then the water became still, and it was whole again. \"[I touched the moon!|Now I know how it feels!]\" whispered {H}. They sat by the pond and ate {d}, and the moon smiled up at them."),
P("finds a job", "patient",
"{H} wanted to work and earn some money for a {look} {o}. \"[What can you do?|Are you strong?]\" asked the baker. \"I can try,\" said {H}. But {he} [burned the bread|dropped the eggs|fell into the flour], and the baker sent {him} home.",
"Next {he} went to the [gardener|painter|tailor]. There {he} [pulled out all the flowers|painted the window too|cut the sleeves too short]. \"[I am sorry, this is not for you|Try something else],\" they said. {H} walked {Q} and was sad. \"[I am good at nothing|Nobody needs me],\" {he} said to {F} the {fkind}.",
"\"[That is not true|Everybody is good at something],\" said {F}. \"[You tell the best stories|You always make me laugh|You listen so well]. When I was sad, you [told me a story, and I felt better|made me happy again].\" {H} [thought about that|looked up]. Was that a job? \"[Come to the school tomorrow|The children need somebody like that],\" said {E}, who had heard it.",
"So {H} went to the school and [told a story|played {game} with the children]. The children [wanted to hear more and more|did not want to go home]. Every day {he} came back, and at the end of the month {he} could buy the {o}. But [{he} gave it to {F}|by then {he} did not need it any more]. \"[I would do it without money|This is the best job in the world],\" said {H}."),
P("tries to catch a cloud", "joy",
"One {w} day, {H} looked up and saw a little white cloud. \"[It looks so soft|It looks like a pillow],\" said {H}. \"I will catch it and take it home.\" {he} took a [net|long rope|big bag] and went out. {F} the {fkind} [came too|carried the {o}].",
"They ran after the cloud, [across the fields|along the river] and over the hill. {H} [jumped|threw the rope], but the cloud was too high. {F} [blew and blew|called it by name], but the cloud did not come down. [It only changed its shape. First it was a {o}, and then it was a sheep.|It floated away, slow and quiet.]",
"[In the evening|After a long time], they were so tired that they sat down. Then everything around them became white and cool. They could not see [the trees|their own feet]. \"[What is this?|Where are we?]\" asked {F}. {E} came by with a lantern and laughed. \"This is fog,\" said {E}. \"[It is a cloud that has come down to rest|You are sitting in the middle of a cloud].\"",
"{H} [opened the bag and closed it again|held out {his} hands]. \"[We did not catch the cloud|We wanted to catch a cloud],\" {he} said. \"[The cloud caught us|And now it caught us]!\" They laughed so loudly that [a bird woke up|{E} had to laugh too]. Then they went home and ate {d}."),
P("teaches a {fkind} to be polite", "kind",
"{F} the {fkind} never said please, and never said thank you. \"[Give me that {o}!|I want some {d}!]\" {fhe} said. When {F} came, the others [went away|closed their doors]. {F} [did not know why|thought that they were mean].",
"One {w} day, {F} [fell into a hole|was stuck in the mud] {Q}. \"[Get me out!|Pull me out, now!]\" shouted {F}. [A goat heard it and walked on.|A crow heard it and flew away.] Then {H} came by. \"[Did you call?|What did you say?]\" asked {H}. \"I said, get me out!\" shouted {F}.",
"\"[There are two little words that are stronger than a rope|I know a magic word],\" said {H}. \"[Try it|Do you know it?]\" {F} thought [hard|for a long time]. {fhe} [was cold and tired|looked up at {H}]. \"[Please,\" said {F} at last|Would you please help me,\" said {F} quietly]. \"Please help me.\" \"[Of course|With pleasure],\" said {H}, and {he} pulled {F} out with a {o2}.",
"\"[And what is the other word?|Thank you],\" said {F}. Then {fhe} [laughed|smiled]. \"[That felt good|Thank you, {H}].\" From then on, {F} said please and thank you all day long, even to the [trees|stones]. And soon {F} had many friends, who shared their {d} with {fhim}."),
P("looks for the end of the rainbow", "home",
"After the rain, there was a rainbow in the sky. \"[At its end there is a pot of gold|I will find its end],\" said {H}. {he} put some {d} into a bag and called {F} the {fkind}. Off they went, [over the hills|across the fields|along the river].",
"They walked [an hour|a long way], but the rainbow was always a little farther. [They met a farmer who needed help with a wagon, and they helped.|They met an old woman and carried her basket.] [\"The end is just behind those trees,\" said {H}.|\"We are almost there,\" said {F}.] But behind the trees there was only more grass.",
"Then the sun [went down|went behind a cloud], and the rainbow was gone. {H} wanted to cry. \"[No gold|All that way for nothing],\" {he} said. On the way back, [the farmer waved at them|the old woman stood at her gate]. \"[You helped me today|I have something for you],\" said a friendly voice, and they got [a {look} {o}|a warm pie] each.",
"When they came home, {E} was waiting. \"[Did you find the gold?|Where have you been?]\" asked {E}. {H} told the story. \"[Look at your house|Turn around],\" said {E}. The sun was shining again, and the rainbow ended right at {his} own door. \"[So the end of the rainbow was at home|I had to go so far to see it],\" said {H}."),
P("has a {o} that can talk", "honest",
"{H} had an old {look} {o}. One night, it said, \"[Good evening|Hello, {H}].\" {H} almost fell off the chair. \"[You can talk!|Who said that?]\" {he} cried. \"[Only to those who listen|I always could],\" said the {o}. \"[But I can only say what is true|I know only true things].\"",
"The next day, {F} the {fkind} came. {F} had painted a picture. It was not very good. \"[Do you like it?|Is it beautiful?]\" asked {F}. \"[Yes, it is the best picture in the world|Oh, it is wonderful],\" said {H}. \"[That is not true|No],\" said the {o} in the bag. {F} [became red|was hurt] and ran away.",
"{H} was angry with the {o}. \"[Why did you say that?|Now {F} is sad!]\" \"[I can only say what is true|You did not tell the truth],\" said the {o}. \"But the truth can be kind. [What did you like about the picture?|Was there nothing good in it?]\" {H} thought. \"[The colors were lovely|I liked the little house in it],\" {he} said. \"[Then go and say that|That is true],\" said the {o}.",
"{H} looked for {F} and found {fhim} {Q}. \"[The tree looked strange|It was not the best picture in the world], but [I loved the colors|the little house was lovely],\" said {H}. \"[And I could help you with the rest|Will you paint another one?]\" {F} smiled. [They painted together all afternoon.|They ate {d} and painted until dark.] And the {o} [said nothing, but it looked happy|whispered, \"Well done\"]."),
]
