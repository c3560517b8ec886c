"""Trains one model on data that is generated from a seed, and reports its R² on held-out data.

PARAM_ALGORITHM (svm, forest or boost), PARAM_SEED and PARAM_NOISE select the algorithm and the data; the same three
give the same model. The model is written to /model. Each argument names a Tekton result and its file. Without arguments,
the report is written as the termination message of a Job.
"""

import hashlib
import json
import os
import pickle
import sys
from pathlib import Path

# One thread, so that sums are always computed in the same order.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

from sklearn.datasets import make_friedman1
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

ALGORITHMS = {
    "svm": lambda seed: make_pipeline(StandardScaler(), SVR(C=10.0)),
    "forest": lambda seed: RandomForestRegressor(n_estimators=50, random_state=seed),
    "boost": lambda seed: GradientBoostingRegressor(n_estimators=100, random_state=seed),
}


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def main():
    algorithm, seed = os.environ["PARAM_ALGORITHM"], int(os.environ["PARAM_SEED"])
    features, target = make_friedman1(n_samples=600, noise=float(os.environ["PARAM_NOISE"]), random_state=seed)
    known, held_out, known_target, held_out_target = train_test_split(features, target, test_size=0.25, random_state=seed)
    model = ALGORITHMS[algorithm](seed).fit(known, known_target)
    r2 = r2_score(held_out_target, model.predict(held_out))

    content = pickle.dumps(model)
    file = Path("/model") / f"{algorithm}.pickle"
    file.write_bytes(content)
    results = {
        "r2": f"{r2:.6f}",
        "model-uri": file.as_uri(),
        "model-digest": sha256(content),
        # The code that really ran: the operator does not judge a run of other code than the training was reserved with.
        "code": sha256(Path(__file__).read_bytes()),
    }
    if len(sys.argv) > 1:
        for name, path in (argument.split("=", 1) for argument in sys.argv[1:]):
            Path(path).write_text(results[name])
    else:
        report = {
            "metrics": {"r2": results["r2"]},
            "artifact": {"uri": results["model-uri"], "digest": results["model-digest"]},
            "outputs": {"input.code": results["code"]},
        }
        Path("/dev/termination-log").write_text(json.dumps(report))


main()
