"""The error codes: what each means, with a wrong and a right program. `archlang explain` shows them.

E00xx files and text, E01xx syntax, E02xx names and arguments, E03xx shapes, E04xx values and limits, E05xx choices and
searches, E06xx weights and other arrays, E07xx graph text, E08xx backends, E09xx data,
E10xx devices, E11xx training, E12xx searches, E13xx supernets, E14xx scaling.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """wrong, right: programs of which the first gives the error and the second does not; both empty where the error
    does not come from a program alone."""

    title: str
    explanation: str
    wrong: str = ""
    right: str = ""


def _net(*lines: str) -> str:
    """A net `A` on a small image, with `lines` as its steps."""
    return "\n".join(["net A:", "  input 3x8x8", *(f"  {line}" for line in lines)]) + "\n"


def _search(*lines: str) -> str:
    """A search `s` with `lines`, over a small space."""
    space = _net("conv({8, 16}, 3)", "gap -> linear(10)")
    return "\n".join([space, "search s over A:", *(f"  {line}" for line in lines)]) + "\n"


CODES: dict[str, Code] = {
    # ---- files and text ----------------------------------------------------------------------------------------------
    "E0001": Code(
        "there is no such file",
        "A file that was named on the command line or in an import, or a family of the zoo, does not exist or cannot "
        "be read. `archlang zoo` lists the families. An import in quotes is relative to the file that holds it; one "
        "with dots, such as `std.mobile`, is part of the standard library.",
        "from std.mobil import mbconv\n\n" + _net("mbconv(16)"),
        "from std.mobile import mbconv\n\n" + _net("mbconv(16)"),
    ),
    "E0002": Code("not a text", "An .arch file is text in UTF-8, without null bytes. Save it so in your editor."),
    "E0003": Code(
        "the file is too large", "Files are read up to 10 MB. Put blocks into files of their own and import them."
    ),
    # ---- syntax ------------------------------------------------------------------------------------------------------
    "E0101": Code(
        "this does not belong here",
        "The line cannot be read up to its end: a sign is missing before the marked place, or what stands there has no "
        "meaning in that place.",
        _net("conv(16 3)"),
        _net("conv(16, 3)"),
    ),
    "E0102": Code(
        "a bracket without its partner",
        "Every bracket is closed by its own kind. Inside brackets a line may go on.",
        _net("conv(16, 3"),
        _net("conv(16, 3)"),
    ),
    "E0103": Code(
        "this sign has no meaning",
        "A character that the language does not use, or a string that is not closed on its line. Strings stand in "
        "double quotes.",
        _net("conv(16, 3) ? conv(16, 3)"),
        _net("conv(16, 3) -> conv(16, 3)"),
    ),
    "E0104": Code(
        "wrong indentation",
        "The lines of a block are indented alike, two spaces deeper than the line that opens it, which ends with `:`.",
        _net("conv(16, 3)", "  conv(16, 3)"),
        _net("conv(16, 3)", "conv(16, 3)"),
    ),
    "E0105": Code(
        "a tab in the indentation",
        "Indentation is made of spaces, two a level, so that a file looks the same everywhere.",
        "net A:\n\tinput 3x8x8\n\tconv(16, 3)\n",
        _net("conv(16, 3)"),
    ),
    "E0106": Code(
        "a malformed table",
        "Every row of a table begins and ends with `|` and has as many cells as the header. `-` is a cell that gives "
        "nothing.",
        _net("table conv:", "  |  c | k |", "  | 16 | 3"),
        _net("table conv:", "  |  c | k |", "  | 16 | 3 |"),
    ),
    "E0107": Code(
        "nested too deeply", "Brackets and blocks are nested within limits. Give the inner parts names of their own."
    ),
    "E0108": Code(
        "a reserved word",
        "`type where let return import quant target` are kept for later versions of the language and cannot be names.",
        "block target(c):\n  conv(c, 3)\n\n" + _net("target(16)"),
        "block detector(c):\n  conv(c, 3)\n\n" + _net("detector(16)"),
    ),
    "E0109": Code(
        "comparisons cannot be chained",
        "`a < b < c` means something else in every language, so it means nothing here.",
        _net("n = 4", "if 1 < n < 8: conv(16, 3)"),
        _net("n = 4", "if 1 < n and n < 8: conv(16, 3)"),
    ),
    "E0110": Code(
        "only a name can be assigned to",
        "On the left of `=` stand one name or several, with commas between.",
        _net("x.c = conv(16, 3)"),
        _net("h = conv(_, 16, 3)", "h"),
    ),
    # ---- names and arguments -----------------------------------------------------------------------------------------
    "E0201": Code(
        "an unknown name",
        "Nothing of this name is defined in the file, imported into it, or built in. Blocks of the standard library "
        "are imported: `from std.mobile import mbconv`.",
        _net("cnov(16, 3)"),
        _net("conv(16, 3)"),
    ),
    "E0202": Code(
        "an unknown argument",
        "The block, op, net or group has no argument of this name. An argument is never passed over in silence.",
        _net("conv(16, 3, strid=2)"),
        _net("conv(16, 3, s=2)"),
    ),
    "E0203": Code(
        "defined twice",
        "A name stands for one thing: two definitions, parameters, columns or outputs cannot share it, and what is "
        "built in cannot be defined anew.",
        "block stem(c, c):\n  conv(c, 3)\n\n" + _net("stem(16, 3)"),
        "block stem(c, k):\n  conv(c, k)\n\n" + _net("stem(16, 3)"),
    ),
    "E0204": Code(
        "no such net, variant or definition",
        "The file, or the net's table of variants, has no entry of this name.",
        "from std.mobile import mbconf\n\n" + _net("mbconf(16)"),
        "from std.mobile import mbconv\n\n" + _net("mbconv(16)"),
    ),
    "E0205": Code(
        "an import that is not allowed",
        "Files do not import each other in a circle, and reach only files in the folder of the one that is compiled, "
        "and below. A text that is not a file has no folder, and imports the standard library alone.",
        'from "../../secret.arch" import fire\n\n' + _net("fire(16)"),
        "from std.mobile import mbconv\n\n" + _net("mbconv(16)"),
    ),
    "E0206": Code(
        "a value of the wrong kind",
        "The argument takes a whole number, a number, one or two of them, 0 or 1, or a name, and was given something "
        "else. `/` gives a fraction; `//` gives a whole number.",
        _net("conv(x_channels / 2, 3)").replace("  conv", "  x_channels = 5\n  conv"),
        _net("conv(x_channels // 2, 3)").replace("  conv", "  x_channels = 5\n  conv"),
    ),
    "E0207": Code(
        "`once` without a default",
        "A parameter marked `once` is given to the first repeat; the others take its default, so it needs one.",
        "block unit(c, s once):\n  conv(c, 3, s=s)\n\n" + _net("unit(16, 2) * 2"),
        "block unit(c, s=1 once):\n  conv(c, 3, s=s)\n\n" + _net("unit(16, 2) * 2"),
    ),
    "E0208": Code(
        "a value cannot be used so",
        "A number stands where a step or a tensor is needed, a step where a number is, and so on. The message says "
        "what was seen.",
        _net("conv(16, 3)", "24"),
        _net("conv(16, 3)", "conv(24, 3)"),
    ),
    "E0209": Code(
        "nothing flows",
        "A step acts on the current value, which an `input` line makes.",
        "net A:\n  conv(16, 3)\n",
        _net("conv(16, 3)"),
    ),
    "E0210": Code(
        "`pos` is not known yet",
        "`pos` runs from 0 at the first residual block to 1 at the last, so it is known when all have been counted. It "
        "can be computed with in an argument, but no decision can depend on it.",
        "block unit(c):\n  if pos > 0.5: conv(c, 3)\n  residual: conv(c, 3)\n\n" + _net("conv(8, 3)", "unit(8) * 2"),
        "block unit(c):\n  residual(drop=0.2 * pos): conv(c, 3)\n\n" + _net("conv(8, 3)", "unit(8) * 2"),
    ),
    "E0211": Code(
        "arguments do not fit",
        "Too many arguments, one given twice, a positional one after a named one, or values that a function does not "
        "work on.",
        _net("conv(16, k=3, k=5)"),
        _net("conv(16, k=5)"),
    ),
    "E0212": Code(
        "an argument is missing",
        "A parameter without a default has to be given: in the call, in a variant, or with `--set`.",
        _net("conv"),
        _net("conv(16)"),
    ),
    "E0213": Code(
        "a malformed `default` or `with`",
        "Settings name a block or an op and give its arguments by name.",
        _net("default conv(bn)", "conv(16, 3)"),
        _net("default conv(norm=bn)", "conv(16, 3)"),
    ),
    "E0214": Code(
        "the number of tensors is wrong",
        "A cell, a join or a net takes a certain number of tensors as its first arguments.",
        "cell merge(a, b; c):\n  a + b -> conv(c, 1)\n\n" + _net("conv(16, 3) as h", "merge(h, 16)"),
        "cell merge(a, b; c):\n  a + b -> conv(c, 1)\n\n" + _net("conv(16, 3) as h", "merge(h, h, 16)"),
    ),
    "E0215": Code(
        "this opens no block of lines",
        "Only groups have lines below them: `add concat mul mean residual branch`, and `stage`, `table`, `for`, `if`.",
        _net("conv(16, 3):", "  conv(16, 3)"),
        _net("branch:", "  conv(16, 3)"),
    ),
    "E0216": Code(
        "a group without branches",
        "`add`, `concat`, `mul` and `mean` join branches, one a line.",
        _net("add:", "  pass"),
        _net("add:", "  skip", "  conv(3, 3)"),
    ),
    "E0217": Code(
        "a table names nothing",
        "A table says which block its rows are for, `table mbconv:`, or has a column `op`; a table of variants has a "
        "column `name` with a plain name in each row.",
        _net("table:", "  |  c | k |", "  | 16 | 3 |"),
        _net("table conv:", "  |  c | k |", "  | 16 | 3 |"),
    ),
    # ---- shapes ------------------------------------------------------------------------------------------------------
    "E0301": Code("a shape does not fit", "The op does not accept a tensor of this shape. The message says why."),
    "E0302": Code(
        "a kernel larger than its input",
        "The window has to fit into the padded input, and must not see padding alone. Deep in a net the cause is often "
        "a stride too many before.",
        _net("conv(16, 11, pad=0)"),
        _net("conv(16, 3, pad=0)"),
    ),
    "E0303": Code(
        "an op on the wrong kind of tensor",
        "Convolutions and pools take images (channels, height, width), attention takes sequences (tokens, features), "
        "`linear` takes vectors or sequences.",
        _net("linear(10)"),
        _net("flatten -> linear(10)"),
    ),
    "E0304": Code(
        "a value outside its range",
        "Sizes are at least 1, probabilities at least 0 and under 1, and modes are among those that the op knows.",
        _net("conv(0, 3)"),
        _net("conv(1, 3)"),
    ),
    "E0305": Code(
        "does not divide evenly",
        "Groups, heads and parts divide the channels without a rest.",
        _net("conv(16, 3, groups=2)"),
        _net("conv(16, 3) -> conv(16, 3, groups=2)"),
    ),
    "E0306": Code(
        "channels or tokens that are not there",
        "A slice or a token is taken from beyond the tensor's size.",
        _net('rearrange("b c h w -> b (h w) c") -> take(64)'),
        _net('rearrange("b c h w -> b (h w) c") -> take(63)'),
    ),
    "E0311": Code(
        "an expectation does not hold",
        "An `expect` line is checked against the net with its default arguments: the net is not what its author says. "
        "`==` is exact, `~` is within 1 %.",
        _net("conv(16, 3)", "expect params == 500"),
        _net("conv(16, 3)", "expect params == 448"),
    ),
    "E0312": Code(
        "shapes do not agree",
        "What is added or multiplied has equal shapes (or is one value a channel); what is concatenated differs in its "
        "channels alone. In a residual block project the shortcut, or let it go where the shapes differ.",
        _net("residual: conv(16, 3, s=2)"),
        _net("residual(project=conv(16, 1, s=2)): conv(16, 3, s=2)"),
    ),
    # ---- values and limits -------------------------------------------------------------------------------------------
    "E0401": Code(
        "too many steps",
        "A program is elaborated within limits on repeats and operations, so that every file is read in bounded time.",
        _net("conv(16, 3) * 100000000"),
        _net("conv(16, 3) * 10"),
    ),
    "E0402": Code(
        "recursion without an end",
        "A block or a function may call itself if it ends: with an `if` that is false some day.",
        "block deep(n):\n  conv(3, 3)\n  deep(n - 1)\n\n" + _net("deep(3)"),
        "block deep(n):\n  conv(3, 3)\n  if n > 1: deep(n - 1)\n\n" + _net("deep(3)"),
    ),
    "E0403": Code(
        "a number or list that is too large",
        "Whole numbers stay under 2**63, lists within a hundred thousand values.",
        _net("conv(10 ** 30, 3)"),
        _net("conv(10 ** 2, 3)"),
    ),
    "E0404": Code(
        "this has no value",
        "A division by zero, the root of a negative number, an empty range, a negative number of repeats.",
        _net("n = 0", "conv(16 / n, 3)"),
        _net("n = 2", "conv(16 / n, 3)"),
    ),
    "E0405": Code(
        "an element that is not there",
        "Lists are counted from 0; `layers[3]` is the fourth.",
        _net("sizes = [8, 16]", "conv(sizes[2], 3)"),
        _net("sizes = [8, 16]", "conv(sizes[1], 3)"),
    ),
    # ---- choices and searches ----------------------------------------------------------------------------------------
    "E0501": Code("no such alternative", "A decision was given an index that its choice does not have."),
    "E0502": Code(
        "`each` of something else",
        "`each` makes one decision a repeat out of a choice `{...}`, or takes a list with a value for every repeat.",
        _net("conv(8, each 3) * 2"),
        _net("conv(8, each {3, 5}) * 2"),
    ),
    "E0503": Code(
        "no such search",
        "The file has no `search NAME over NET:`, or none of this name.",
    ),
    "E0504": Code(
        "a malformed line of a search",
        "A search holds `device`, `data`, `require`, `maximize`, `minimize`, `reward` and `method`.",
        _search("maximise accuracy"),
        _search("maximize accuracy"),
    ),
    "E0505": Code(
        "a space that cannot be counted",
        "So many decisions depend on each other that their combinations cannot be gone through. Let fewer choices "
        "decide about the existence of others.",
    ),
    "E0506": Code(
        "a candidate cannot be written as source",
        "A choice in this form can be searched, but not replaced in the text by what was picked. Write it in place.",
    ),
    "E0507": Code(
        "a choice that nobody makes",
        "Choices are made where networks are elaborated: in nets and blocks, in the arguments and settings of "
        "`net B = A(...) with ...`, in tables of variants. A choice in a line of a search, in `--set`, or between nets "
        "themselves is made nowhere.",
        _search("require params <= {1M, 2M}"),
        _search("require params <= 1M"),
    ),
    # ---- weights and other arrays ------------------------------------------------------------------------------------
    "E0601": Code(
        "a weight is missing",
        "The file has no array of a name that the network needs. The names are those of the generated module's "
        "state dict.",
    ),
    "E0602": Code(
        "a weight of the wrong shape",
        "An array has not the shape that the network needs: it belongs to another variant, or has another layout than "
        "PyTorch's.",
    ),
    "E0603": Code(
        "values that are not finite",
        "An array holds NaN or infinities, as after a training that diverged.",
    ),
    "E0604": Code(
        "a weight too many",
        "The file holds an array that belongs to no module of the network: it is of another network, or of a module "
        "that was renamed.",
    ),
    "E0605": Code("there is no such array file", "The file of weights or inputs that an option names does not exist."),
    "E0606": Code(
        "an unknown array format",
        "Weights are read from .safetensors files and .pt / .pth state dicts, inputs from .npy and .npz files.",
    ),
    "E0607": Code(
        "a damaged array file",
        "The file ends early, is of another format than its name says, or could only be read by running code from it, "
        "which is never done.",
    ),
    "E0608": Code(
        "the output cannot be written",
        "The folder does not exist or is not writable, the disk is full, or a file is there already. Nothing was "
        "written.",
    ),
    "E0609": Code(
        "inputs that do not fit the network",
        "Calibration inputs are numbers of shape (N, C, H, W), as the network's input with a batch dimension in front.",
    ),
    "E0610": Code(
        "layers that cannot be told apart",
        "Layers of a foreign checkpoint have the same shapes and may belong to several layers of the network: branches "
        "run side by side, and neither names nor numbers tell which is which. Nothing is guessed, since the network "
        "would run and be wrong. `archlang weights import --report R.json` lists the layers; a file of lines "
        "`ours = theirs`, given with --map, settles them.",
    ),
    "E0611": Code(
        "a checkpoint of another network",
        "The layers of a foreign checkpoint are not those of the network: it is another variant, has another number of "
        "classes, or holds auxiliary heads. Layers of the file can be left out with --ignore, layers of the network "
        "start anew with --fresh.",
    ),
    "E0612": Code(
        "a map that does not fit",
        "A line of the map is not `ours = theirs`, or it or a pattern names a layer that is not there.",
    ),
    "E0613": Code(
        "no such part",
        "`freeze` names stages and modules as the state dict does: `layer1`, or `layer1.0` for a part of it.",
    ),
    "E0614": Code(
        "weights that are no real numbers",
        "An array holds integers, truth values or numbers of eight bits. Taken as they are they would be wrong: what "
        "scales them stands elsewhere.",
    ),
    # ---- graph text --------------------------------------------------------------------------------------------------
    "E0701": Code("a graph that cannot be read", "The text is not what `archlang ir` prints."),
    # ---- backends ----------------------------------------------------------------------------------------------------
    "E0801": Code(
        "an unknown backend", "No backend of this name is built in or installed. They are installed as packages."
    ),
    "E0802": Code("an unknown mode", "The backend does not know this quantization mode."),
    "E0803": Code("the target cannot do this", "The target has no equal for an op, or not with these attributes."),
    "E0804": Code(
        "an option that the target has not",
        "An option means nothing to the target: an opset is ONNX's, an initialisation is that of generated source.",
    ),
    "E0805": Code(
        "an opset that cannot be written",
        "Models are written for opset 17 and later, up to the latest that the installed onnx knows and can check.",
    ),
    "E0810": Code(
        "a name that the target does not allow", "A name of the program cannot be a name in the generated source."
    ),
    "E0811": Code("inputs that give no ranges", "The calibration inputs cannot be used, or are all the same value."),
    "E0812": Code(
        "activations that cannot be quantized",
        "A layer makes NaN, infinities, or values too large for int8 of the calibration inputs: the weights are "
        "broken, or the inputs are scaled otherwise than in training.",
    ),
    "E0813": Code(
        "too many weights",
        "A .tflite file holds less than 2 GB of weights, and no target more than fit into this machine's memory.",
    ),
    "E0814": Code(
        "weights that do not fit float32",
        "The arrays of a layer, with the BatchNorm behind it multiplied in, are not finite in float32: the running "
        "variance is negative, or the weights are too large.",
    ),
    "E0815": Code(
        "a file that does not compute what the network does",
        "After a file is written it is run and compared with the network; this one differs by more than rounding or "
        "quantization can explain, and was taken away again. The message names the first layer that is wrong.",
    ),
    "E0820": Code(
        "an observer that there is not",
        "`--observer` takes min-max, moving-average, percentile, entropy or mse; some take a parameter behind an "
        "equals sign, such as `percentile=99.9`.",
    ),
    "E0821": Code(
        "no layer of that name",
        "`--float` takes dotted names of layers, as `archlang cost` lists them, with `*` and `?`; a name also means "
        "all that lies below it.",
    ),
    "E0822": Code(
        "an option that looks at values, without inputs",
        "Bias correction, the search for layers to keep in floats and the report run the network, so they need "
        "`--calibration`.",
    ),
    "E0823": Code(
        "a range from training that is none",
        "Weights of quantization-aware training hold the ends of every range, `NAME_range.low` and `NAME_range.high`. "
        "One is missing, is not finite, or was never set because no batch was seen in training mode.",
    ),
    "E0824": Code(
        "ranges from training that are not all",
        "Some layers become several operators in the file (attention, means of many inputs), and training does not "
        "tell the ranges between them: `--calibration` does.",
    ),
    "E0825": Code(
        "a report of another format", "`--report` writes .md or .html files, and the terminal where no file is given."
    ),
    # ---- data --------------------------------------------------------------------------------------------------------
    "E0901": Code(
        "an unknown data set",
        "Data is `digits`, `npz:FILE`, `folder:DIR`, `idx:DIR` or `module:function`.",
    ),
    "E0902": Code(
        "data that cannot be read", "A file or folder of the data set is missing, damaged, or of another format."
    ),
    "E0903": Code(
        "arrays that are no data set",
        "Images are (N, C, H, W), labels one whole number an image, as many of each.",
    ),
    "E0904": Code(
        "values that are no data", "Images hold values that are not finite, or labels that are not whole numbers."
    ),
    "E0905": Code("images that do not fit the network", "The network's input is no image, or has other channels."),
    "E0906": Code("data that runs code", "`module:function` runs code, so only the command line may ask for it."),
    "E0907": Code("the data's own code failed", "The function that `module:function` names raised an error."),
    # ---- devices -----------------------------------------------------------------------------------------------------
    "E1001": Code("a model that the runtime refuses", "The file is damaged, or holds what this runtime does not know."),
    "E1002": Code(
        "the runtime died", "The runtime's process ended while it ran the model: a damaged file, or too little memory."
    ),
    "E1003": Code("no model file", "Latency is measured of .tflite and .onnx files, and of what is compiled to one."),
    "E1004": Code("a measurement that cannot be", "At least one run and one thread are needed, in less than an hour."),
    "E1005": Code("there is no such model", "The .tflite or .onnx file that is to be measured does not exist."),
    "E1006": Code(
        "files that cannot be compared", "The inputs or outputs of compared files differ in number or in shape."
    ),
    "E1011": Code(
        "too few measurements for a latency model",
        "A model needs some measured networks: give `bench --build-table` a larger `--budget`.",
    ),
    "E1012": Code(
        "no latency table",
        "`cost --device` and `bench --validate` read what `bench --build-table` has written: the file is missing, or "
        "something else.",
    ),
    "E1013": Code(
        "a latency table of something else",
        "Measurements of another device, runtime, space or number of threads do not mix: write to another file.",
    ),
    "E1014": Code("a plot of no known format", "Plots are written as .svg, .html or .png."),
    "E1015": Code(
        "latency that cannot be predicted",
        "The network holds an op that was never measured: build a table that has it.",
    ),
    "E1021": Code("devices.toml is not TOML", "The file that names the devices cannot be read up to its end."),
    "E1022": Code(
        "a device that cannot be",
        "A device is a table of devices.toml, called by letters, digits, `-` and `_`, with a `kind`: ssh, adb, tflm or "
        "ethos-u. `host` is this machine. `archlang devices init` writes examples.",
    ),
    "E1023": Code(
        "a wrong key of a device",
        "Each kind of device has keys of its own, some of which it needs; `archlang devices init` writes an example of "
        "each.",
    ),
    "E1024": Code(
        "devices.toml stays as it is",
        "A device of that name is there already, or none is, or the file exists and `devices init` would replace it.",
    ),
    # ---- training ----------------------------------------------------------------------------------------------------
    "E1101": Code(
        "a network that does not fit the data",
        "Training needs one image input of the data's channels, and one output with a value for every class. Set the "
        "number of classes with `--set classes=10` where the net has such a parameter.",
    ),
    "E1102": Code(
        "the loss is not finite", "The weights have grown beyond all bounds. Train with a smaller learning rate: --lr."
    ),
    "E1103": Code(
        "a training that cannot be",
        "A setting of the training is unknown, or has a value that it cannot have: at least one epoch, batches of two "
        "images, a learning rate above 0. `--recipe` takes them as `schedule=step, augment=crop+flip`.",
    ),
    "E1104": Code(
        "another training's checkpoint",
        "The file of `--checkpoint` was left by a training of another network, data or recipe, or is no checkpoint.",
    ),
    # ---- searches ----------------------------------------------------------------------------------------------------
    "E1201": Code(
        "an unknown strategy",
        "A search proceeds by one of the strategies, such as `bayesian` or `evolution`, with arguments in brackets.",
    ),
    "E1202": Code(
        "a wrong argument of a search",
        "The strategy or the evaluator has no argument of this name, or not with this value, or needs one more.",
    ),
    "E1203": Code(
        "an unknown metric",
        "`require`, `maximize`, `minimize` and `reward` know accuracy, latency, params, macs, flops, peak_memory, "
        "flash and energy, and what the evaluator adds: `train` adds accuracy_int8.",
    ),
    "E1204": Code(
        "nothing to optimise", "A search needs `maximize`, `minimize` or `reward`, in metrics that its evaluator gives."
    ),
    "E1205": Code(
        "an unknown evaluator",
        "Candidates are judged by `train`, `cost`, `proxy`, `table`, by what a package adds, or by a function of "
        "yours, `module:function`, which is on Python's path.",
    ),
    "E1206": Code("no database of a search", "The file search.db in the run's folder is damaged, or something else."),
    "E1207": Code("no search to go on with", "The folder holds no run. Without --resume one is begun."),
    "E1208": Code("a run is there already", "The folder holds a run. Go on with it with --resume, or name another."),
    "E1209": Code("two processes in one run", "Another process is searching in this folder."),
    "E1210": Code(
        "another search than the one that was begun",
        "A run is resumed with the space, seed, strategy, evaluator and objective that it was begun with.",
    ),
    "E1211": Code("a search without data", "Candidates are trained on `--data`, or on what the search's `data` says."),
    "E1212": Code(
        "a function that gave no metrics",
        "The function of `--evaluator module:function` returns numbers by the names of metrics, all that the search "
        "asks for.",
    ),
    "E1213": Code(
        "a network that cannot be made smaller",
        "A candidate of a lower fidelity is trained on smaller images or with fewer channels, which its ops do not "
        "allow.",
    ),
    "E1214": Code(
        "a strategy without decisions",
        "Strategies that model decisions, such as `bayesian`, `tpe` and `ppo`, search a net with choices in it.",
    ),
    "E1215": Code(
        "a table that does not fit",
        "The CSV file of `table(file=...)` has no such column, no row for a candidate, or a row twice.",
    ),
    "E1230": Code(
        "a net that cannot be one file",
        "What mutates a net writes it into one file, and two of the files that it is made of use one name for "
        "different things. Rename one of them.",
    ),
    "E1231": Code(
        "an unknown mutation",
        "`--only` of `archlang mutate`, and `mutations` in a search, take names of mutations, which `archlang mutate "
        "SPEC` lists.",
    ),
    "E1232": Code(
        "nothing to mutate",
        "No rewrite of the kinds that are allowed gives another network that fits together and has the same inputs and "
        "outputs. Allow more kinds.",
    ),
    "E1233": Code(
        "a space that is to be mutated",
        "A net with choices is a space already: `archlang search` picks its candidates, which can be mutated.",
    ),
    "E1240": Code(
        "a storage that Optuna cannot open", "`--optuna` takes what Optuna does, such as `sqlite:///study.db`."
    ),
    "E1241": Code("a study of another run", "A study holds the trials of one run; another run needs another storage."),
    # ---- supernets ---------------------------------------------------------------------------------------------------
    "E1301": Code(
        "a space too large for a supernet",
        "A supernet holds all that some candidate has, and finding it out took too much work. Let fewer choices decide "
        "about the existence of others.",
    ),
    "E1302": Code(
        "groups that cannot share weights",
        "In a supernet a narrower grouped convolution has fewer groups of equal width: not "
        "`conv({32, 64}, 3, groups=4)`, whose groups change their width, but `conv(c, 3, groups=c // 8)`, or "
        "`{conv(32, 3, groups=4), conv(64, 3, groups=4)}`, two steps with weights of their own.",
    ),
    "E1303": Code(
        "kernels without a common centre",
        "In a supernet a smaller kernel is the centre of a larger one: not `conv(16, {2, 3})`, but "
        "`conv(16, {3, 5})`, or `{conv(16, 2), conv(16, 3)}`, two steps with weights of their own.",
    ),
    "E1304": Code(
        "a flattened image of changing size",
        "Behind `flatten` every position has weights of its own, which images of other sizes do not have: so not "
        "`input (3, r, r)` with `r = {32, 48}`, and `flatten -> linear(10)` at the end, but `gap -> linear(10)`.",
    ),
    "E1305": Code(
        "positions of changing number",
        "`pos_embed` has weights for every token: so not `input (3, r, r)` with `r = {32, 48}` before it, but one "
        "resolution.",
    ),
    "E1306": Code(
        "a decision is missing",
        "A sub-network is chosen by all the decisions that it reads, each under its key: line:column of the choice.",
    ),
    "E1307": Code("an unknown decision", "The space has no decision under this key: line:column of the choice."),
    "E1308": Code(
        "a supernet of another space",
        "A supernet's file says which space it is of, its text and arguments. This is another one, or was changed.",
    ),
    "E1309": Code(
        "no supernet",
        "The file is not one that `archlang supernet` wrote: .safetensors, with the space's digest in it.",
    ),
    "E1310": Code(
        "alternatives that cannot be mixed",
        "A mixture adds the tensors of all alternatives of a decision, so these have one shape: "
        "`{conv(16, 3), conv(16, 5)}`, `conv(16, {3, 5})`, but not `conv({16, 32}, 3)`, or a number of repeats.",
    ),
    "E1311": Code(
        "a state dict of another supernet",
        "`once_for_all` takes the state dicts of mit-han-lab/once-for-all's OFAMobileNetV3, of the space's width.",
    ),
    "E1320": Code(
        "an unknown method of training",
        "A supernet is trained by `single`, `sandwich`, `shrinking`, `enas` or `darts`, with arguments in brackets: "
        "`--method 'darts(order=2)'`.",
    ),
    "E1321": Code(
        "too few epochs",
        "Progressive shrinking opens kernels, depths and widths in stages, each of which takes an epoch at least.",
    ),
    "E1322": Code("a wrong argument of a method", "The method has no argument of this name, or not with this value."),
    "E1323": Code(
        "nothing that could be mixed",
        "DARTS weighs all alternatives of a decision at once, which must be of one shape: operators, connections, "
        "kernels. The space has no such decision; `single`, `sandwich` and `enas` train any.",
    ),
    "E1324": Code(
        "a network without choices",
        "A supernet is made of a space: a net with alternatives in braces, such as `conv({8, 16}, {3, 5})`.",
    ),
    "E1325": Code(
        "picks that cannot be read",
        "A sub-network is asked for by `--pick 'k in row 1=5'`, which `archlang supernet info SPACE` lists, by "
        "`--largest` or `--smallest`, by JSON, or by a trial of a search over the same space.",
    ),
    "E1326": Code(
        "a training that was stopped is there",
        "The checkpoint beside the output keeps what a stopped training has done: go on with --resume, or remove it.",
    ),
    "E1327": Code(
        "no predictor of this space",
        "The file was not written by `archlang supernet predictor`, or for another space, or it learnt from too few "
        "sub-networks.",
    ),
    # ---- scaling -----------------------------------------------------------------------------------------------------
    "E1401": Code(
        "coefficients that cannot be",
        "`archlang scale` takes coefficients from 1, which leaves a dimension as it is, to 16, and not all of them 1. "
        "EfficientNet's are 1.2 for the depth, 1.1 for the width and 1.15 for the resolution. Smaller members than the "
        "original are found by a budget: `--flops 0.5x`.",
    ),
    "E1402": Code(
        "a grid without points",
        "No coefficients in these steps have depth * width**2 * resolution**2 near 2. Take a smaller `--step` or a "
        "larger `--tolerance`.",
    ),
    "E1403": Code(
        "no parameter that scales",
        "`--param depth=NAME` names a parameter of the net whose value is a number: a multiplier, or a count.",
    ),
    "E1404": Code(
        "a dimension that cannot be scaled",
        "The net has no parameter for this dimension, and nothing that could be made one: no repeats, no channels that "
        "could change together, no image as its input. Leave the dimension out with `--fix`, or name a parameter with "
        "`--param`.",
    ),
    "E1405": Code(
        "a net that makes no family",
        "A family is made of one network that stands in a `net` of its own. A space has many: scale one that a search "
        "wrote. What `with` overrides belongs into `default` lines of the net first.",
    ),
    "E1406": Code(
        "a budget that no member meets",
        "Even the smallest member that fits together costs more than the budget, or even the largest costs less. "
        "Scaling by resolution alone changes no number of parameters.",
    ),
    "E1407": Code(
        "a metric that the evaluator does not give",
        "The grid is searched for the point with the largest `--maximize` metric, which is `accuracy` where nothing "
        "else is said. It must be one that the evaluator gives.",
    ),
    "E1408": Code(
        "a grid in which nothing could be evaluated",
        "The evaluator failed at every point; the reason of the last one is told, and `workers.log` in the run's "
        "folder holds what it printed.",
    ),
}
