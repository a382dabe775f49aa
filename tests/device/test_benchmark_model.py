"""What benchmark_model printed on other people's devices, as they have reported it."""

from __future__ import annotations

import pytest

from archlang.device.benchmark_model import arguments, operators, parsed
from archlang.device.transport import DeviceFailure, Settings

OLD = """\
STARTING!
Min num runs: [50]
Num threads: [1]
Graph: [/data/local/tmp/mobilenet_v1_1.0_224_quant.tflite]
Loaded model /data/local/tmp/mobilenet_v1_1.0_224_quant.tflite
resolved reporter
Initialized session in 9.933ms
Running benchmark for at least 4 iterations and at least 0.5 seconds
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

Running benchmark for at least 10 iterations and at least 1 seconds
count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""
"""https://github.com/yuenshome/yuenshome.github.io/issues/77, of 2019"""

NEW = """\
STARTING!
Num threads: [4]
Graph: [./mobilenet_v1_1.0_224.tflite]
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
"""
"""On an emulated board, where a single run took longer than the warm-up had to last."""

LITERT = """\
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 1 out of 1 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1055 first=1033 curr=473 min=443 max=1033 avg=465.319 std=18 p5=459 median=463 p95=478

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=2112 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478

INFO: [./litert/tools/benchmark_litert_model.h:81]
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      0.46 ms (2112 runs)

============================== Run Order ==============================
\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t        LiteRT::Run[buffer registration]\t    0.020\t    0.014\t  3.309%\t  3.309%\t     0.000\t        1\tLiteRT::Run[buffer registration]/0
\t                         AllocateTensors\t    0.291\t    0.291\t  0.022%\t  3.331%\t   452.000\t        0\tAllocateTensors/0
\t         Fully Connected (NC, PF32) GEMM\t    0.538\t    0.382\t 92.948%\t 97.018%\t     0.000\t        1\tDelegate/Fully Connected (NC, PF32) GEMM:1

============================== Top by Computation Time ==============================
\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t         Fully Connected (NC, PF32) GEMM\t    0.538\t    0.382\t 92.948%\t 92.948%\t     0.000\t        1\tDelegate/Fully Connected (NC, PF32) GEMM:1

Timings (microseconds): count=3166 first=947 curr=406 min=390 max=947 avg=411.071 std=14
Memory (bytes): count=0
5 nodes observed
"""  # noqa: E501
"""From Arm's learning path on KleidiAI: LiteRT's tool, with its profile on stdout."""

TENSORFLOW = """\
12:36:37.576728: I tensorflow/core/util/stat_summarizer.cc:85]
12:36:37.576738: I tensorflow/core/util/stat_summarizer.cc:85] Timings (microseconds): count=405 first=38212 \
curr=31864 min=29642 max=45766 avg=34421.5 std=2685
12:36:37.576750: I tensorflow/core/util/stat_summarizer.cc:85] Memory (bytes): count=405 curr=19598656(all same)
"""

CSV = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0, 0.029, 0.029, 100%, 100%, 0, 1, AllocateTensors/0

Timings (microseconds): count=1 curr=29
Memory (bytes): count=0
1 nodes observed


Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.0930388, 44.8994%, 44.8994%, 0, 1, [sequential_11/conv2d_33/Conv2D]:0
ELU, 0.0931277, 0.034, 0.0300884, 14.5203%, 59.4197%, 0, 1, [sequential_11/conv2d_33/Elu]:1
SOFTMAX, 0.207468, 0.001, 0.000342312, 0.165195%, 100%, 0, 1, [Identity]:11

============================== Top by Computation Time ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.0930388, 44.8994%, 44.8994%, 0, 1, [sequential_11/conv2d_33/Conv2D]:0
"""


def test_the_form_of_2019() -> None:
    found = parsed(OLD)
    assert found.measured.runs == 15
    assert found.measured.typical_ms == pytest.approx(66.7676)
    assert found.warmup is not None
    assert found.warmup.runs == 7
    assert found.warmup.typical_ms == pytest.approx(76.6059)


def test_the_form_since_2020() -> None:
    found = parsed(NEW)
    assert found.measured.runs == 50
    assert found.measured.typical_ms == pytest.approx(2950.34)
    assert found.warmup is not None
    assert found.warmup.runs == 1
    assert found.warmup.typical_ms == pytest.approx(3512.391)


def test_the_median_counts_where_it_is_told() -> None:
    found = parsed(LITERT).measured
    assert found.runs == 2112
    assert found.average_ms == pytest.approx(0.464545)
    assert found.typical_ms == pytest.approx(0.462)


def test_the_tool_of_tensorflow_itself() -> None:
    found = parsed(TENSORFLOW)
    assert found.measured.runs == 405
    assert found.measured.typical_ms == pytest.approx(34.4215)
    assert found.warmup is None


@pytest.mark.parametrize("text", [OLD, NEW, LITERT])
def test_output_that_ends_early_is_no_result(text: str) -> None:
    """Cut at any line before the one that ends it."""
    lines = text.splitlines(keepends=True)
    end = next(i for i, line in enumerate(lines) if "nference timings" in line or "Inference (avg):" in line)
    for cut in range(end):
        with pytest.raises(DeviceFailure):
            parsed("".join(lines[:cut]))
    parsed("".join(lines[: end + 1]))


def test_the_profile_as_csv() -> None:
    assert operators(CSV) == [
        {"name": "[sequential_11/conv2d_33/Conv2D]:0", "op": "CONV_2D", "ms": 0.0930388},
        {"name": "[sequential_11/conv2d_33/Elu]:1", "op": "ELU", "ms": 0.0300884},
        {"name": "[Identity]:11", "op": "SOFTMAX", "ms": 0.000342312},
    ]


def test_the_profile_without_the_column_of_starts() -> None:
    """As releases since 2023 write it."""
    text = CSV.replace("node type, start, first", "node type, first").replace("CONV_2D, 0, ", "CONV_2D, ")
    assert operators(text)[0] == {"name": "[sequential_11/conv2d_33/Conv2D]:0", "op": "CONV_2D", "ms": 0.0930388}


def test_the_profile_as_a_table() -> None:
    assert operators(LITERT)[-1] == {
        "name": "Delegate/Fully Connected (NC, PF32) GEMM:1",
        "op": "Fully Connected (NC, PF32) GEMM",
        "ms": 0.382,
    }


def test_no_profile() -> None:
    with pytest.raises(DeviceFailure, match="no profile"):
        operators("")


def test_the_flags_say_what_is_asked_for() -> None:
    flags = arguments("m.tflite", Settings(threads=4, runs=7, min_secs=0.5, warmup_runs=0), "p.csv")
    assert {"--num_threads=4", "--num_runs=7", "--min_secs=0.5", "--warmup_runs=1"} <= set(flags)
    assert "--profiling_output_csv_file=p.csv" in flags
