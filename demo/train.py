#!/usr/bin/env python3
"""Trains hearth's demo model from nothing and writes it as a Hugging Face checkpoint.

    python demo/train.py --out demo/checkpoint              everything, from scratch
    python demo/train.py --evaluate demo/checkpoint         accuracy on the held-out tasks

It stops after --minutes of training and resumes from --state when that file exists.
"""

import argparse
import json
import math
import os
import random
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import torch.nn.functional as F

import checkpoint
import tasks
import tokenizer as tk
from dialogues import Dialogues, Encoder, corpus, held_out_items, pack
from model import Config, Deepseek

HERE = Path(__file__).parent
HELD_OUT_FILE = HERE / "heldout.jsonl"

# Row length of a batch, its share of the steps, and the conversations that fill it.
SHAPES = [(128, 0.55, Dialogues.short), (256, 0.34, Dialogues.medium), (512, 0.08, Dialogues.long), (1024, 0.03, Dialogues.longest)]


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised: every direction of a weight matrix moves equally.

    Stacked matrices [n, rows, cols] are handled as n matrices.
    """

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @staticmethod
    def orthogonalise(g):
        """The nearest orthogonal matrix, roughly, by five Newton-Schulz steps in bfloat16."""
        tall = g.shape[-2] > g.shape[-1]
        x = g.bfloat16()
        x = x.mT if tall else x
        x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
        for a, b, c in [(3.4445, -4.7750, 2.0315)] * 5:
            y = x @ x.mT
            y = torch.baddbmm(y, y, y, beta=b, alpha=c)
            x = torch.baddbmm(x, y, x, beta=a)
        return (x.mT if tall else x).float()

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            same_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    if not state:
                        state["momentum"] = torch.zeros_like(p)
                    state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                    same_shape[p.shape[-2:]].append(p)
            for (rows, cols), params in same_shape.items():
                g = torch.cat([p.grad.lerp(self.state[p]["momentum"], group["momentum"]).reshape(-1, rows, cols) for p in params])
                step = self.orthogonalise(g) * -(group["lr"] * max(1, rows / cols) ** 0.5)
                for p, s in zip(params, step.split([p.numel() // (rows * cols) for p in params])):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(s.view_as(p))


def optimizers(model):
    """Muon for the matrices within the layers, AdamW for embeddings, head, routers and norms."""
    matrices = [p for n, p in model.named_parameters() if p.dim() > 1 and n.startswith(("layers.", "mtp.")) and ".gate.weight" not in n]
    mine = set(matrices)
    others = [p for p in model.parameters() if p not in mine]
    return [Muon(matrices, lr=0.02, weight_decay=0.02),
            torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)]


def learning_rate(progress: float) -> float:
    """Relative rate: full for the first part, then straight down to 2 %."""
    hold = 0.15
    return max(0.02, min(1, (1 - progress) / (1 - hold)))


class Progress:
    """Running exact-match accuracy of each family on the training batches, which are always new."""

    def __init__(self):
        self.accuracy = defaultdict(float)

    def update(self, families, right):
        for f in set(families):
            hits = [r for g, r in zip(families, right) if f == g]
            keep = 0.98 ** min(len(hits), 20)
            self.accuracy[f] = keep * self.accuracy[f] + (1 - keep) * sum(hits) / len(hits)

    def reweigh(self, dialogues):
        """What lags is practised more; nothing is dropped."""
        for f in dialogues.weights:
            dialogues.weights[f] = 0.04 + 1 - self.accuracy[f]


@torch.no_grad()
def evaluate(model, encoder, items, device="cpu", dtype=torch.float32):
    """Exact match of greedy decoding, per family: right, total, what was wrong, and the share of tokens the MTP layer foresaw.

    Greedy decoding reproduces an answer exactly when, fed the answer itself, the most likely token is
    right at every position including the end; one forward pass per batch tells.
    """
    model.eval()
    eos = encoder.piece(tk.EOS)[0]
    right = {i["family"]: 0 for i in items}  # in the file's order
    total, wrong = dict(right), []
    drafts, foreseen = 0, 0
    coded = sorted(((encoder.prompt(i["messages"]), encoder.piece(i["answer"]) + [eos], i) for i in items), key=lambda c: len(c[0]) + len(c[1]))
    for at in range(0, len(coded), 32):
        batch = coded[at:at + 32]
        longest = max(len(p) + len(a) for p, a, _ in batch)
        tokens = torch.tensor([p + a + [eos] * (longest - len(p) - len(a)) for p, a, _ in batch], device=device)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            logits, ahead = model(tokens)
            best = logits.argmax(-1).cpu()
        for i, (p, a, item) in enumerate(batch):
            said = best[i, len(p) - 1:len(p) - 1 + len(a)].tolist()
            if ahead is not None:  # the first token of an answer is not drafted
                drafts += len(a) - 1
                foreseen += (ahead[i, len(p) - 1:len(p) + len(a) - 2].argmax(-1).cpu() == best[i, len(p):len(p) + len(a) - 1]).sum().item()
            total[item["family"]] += 1
            right[item["family"]] += said == a
            if said != a:
                wrong.append((item, encoder.t.decode(said, skip_special_tokens=False)))
    model.train()
    return right, total, wrong, foreseen / drafts if drafts else None


def report(right, total, foreseen) -> str:
    parts = [f"{f} {right[f]}/{total[f]}" for f in total] + ([] if foreseen is None else [f"drafts {foreseen:.1%}"])
    return f"{sum(right.values()) / sum(total.values()):.1%}  " + "  ".join(sorted(parts))


def load_items():
    return [json.loads(line) for line in HELD_OUT_FILE.read_text().splitlines()]


def train(args):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    if device == "cpu":
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    args.state.parent.mkdir(parents=True, exist_ok=True)

    if not (args.out / "tokenizer.json").exists():
        tk.save(tk.train(corpus()), args.out)
    if not HELD_OUT_FILE.exists():
        HELD_OUT_FILE.write_text("".join(json.dumps(i, ensure_ascii=False) + "\n" for i in held_out_items()))
    encoder, items = Encoder(tk.load(args.out)), load_items()
    held_out_prompts = {json.dumps(i["messages"], ensure_ascii=False) for i in items}

    model = Deepseek(Config.v3() if args.v3 else Config()).to(device)
    average = Deepseek(model.c).to(device)  # a running mean of the weights: what is evaluated and exported
    average.load_state_dict(model.state_dict())
    opts = optimizers(model)
    hidden = torch.compile(model.hidden, dynamic=False) if args.compile else model.hidden
    progress, step, tokens_seen, elapsed = Progress(), 0, 0, 0.0
    practised = False
    if args.init:
        known = checkpoint.load(args.init)[0].state_dict()
        practised = known.keys() == model.state_dict().keys()
    if args.init and not args.state.exists():
        for m in (model, average):  # of another architecture the tensors of the same name and shape: embeddings and head
            own = m.state_dict()
            m.load_state_dict(own | {n: w for n, w in known.items() if n in own and w.shape == own[n].shape})
    if args.state.exists():
        s = torch.load(args.state, map_location=device, weights_only=False)
        model.load_state_dict(s["model"])
        average.load_state_dict(s["average"])
        for o, state in zip(opts, s["opts"]):
            o.load_state_dict(state)
        progress.accuracy.update(s["accuracy"])
        step, tokens_seen, elapsed = s["step"], s["tokens"], s["elapsed"]
    base = [[g.get("base", g["lr"]) for g in o.param_groups] for o in opts]
    dialogues = Dialogues(seed=args.seed * 1_000_003 + step)
    rng = random.Random(args.seed + step)
    tasks.HARDER = 0.5
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {device}, step {step}, {elapsed / 60:.1f} min done", flush=True)

    def draw_unseen(kind):
        while True:
            messages, families = kind(dialogues)
            # The tasks' keys already exclude this; it costs little to be sure.
            if not any(m["role"] == "assistant" and json.dumps(messages[:i], ensure_ascii=False) in held_out_prompts
                       for i, m in enumerate(messages)):
                return messages, families

    def save():
        state = {"model": model.state_dict(), "average": average.state_dict(), "opts": [o.state_dict() for o in opts],
                 "accuracy": dict(progress.accuracy), "step": step, "tokens": tokens_seen, "elapsed": elapsed}
        torch.save(state, args.state.with_suffix(".new"))
        args.state.with_suffix(".new").replace(args.state)
        checkpoint.export(average, args.out, encoder.t)

    evaluated = reported = elapsed
    last = time.time()
    loss_sum = loss_count = 0.0
    while elapsed < args.minutes * 60:
        done = elapsed / (args.minutes * 60)
        tasks.SMALL_SHARE = 0.15 if practised else max(0.15, 0.7 - 4 * done)  # small numbers first
        rate = args.rate * learning_rate(done) * min(1, (step + 1) / 50)
        for o, rates in zip(opts, base):
            for g, b in zip(o.param_groups, rates):
                g["base"], g["lr"] = b, b * rate
        progress.reweigh(dialogues)

        length, _, kind = rng.choices(SHAPES, [share for _, share, _ in SHAPES])[0]
        *arrays, families = pack(lambda: draw_unseen(kind), encoder, args.tokens // length, length)
        tokens, positions, documents, targets, turns = (torch.from_numpy(a).to(device) for a in arrays)
        with torch.autocast(device, torch.bfloat16):
            x, ahead, balance, loads = hidden(tokens, positions, documents)
            chosen = targets.flatten() >= 0  # the head sees only the positions that are learnt
            logits = model.lm_head(x.flatten(0, 1)[chosen]).float()
            target = targets.flatten()[chosen]
            loss = F.cross_entropy(logits, target)
            objective = loss + model.c.aux_loss_alpha * balance
            if ahead is not None:  # position i predicts what position i + 1 has to
                after = targets.roll(-1, 1)
                after[:, -1] = -100
                chosen_ahead = after.flatten() >= 0
                guesses = model.lm_head(ahead.flatten(0, 1)[chosen_ahead]).float()
                objective = objective + (0.3 if done < 0.7 else 0.1) * F.cross_entropy(guesses, after.flatten()[chosen_ahead])
        objective.backward()
        if model.c.is_v3:
            model.even_out(loads)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad()
        keep = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
            for mine, trained in zip(average.buffers(), model.buffers()):
                mine.copy_(trained)  # the routers' biases move slowly enough
            missed = torch.zeros(len(families), device=device)
            missed.index_add_(0, turns.flatten()[chosen], (logits.argmax(-1) != target).float())
        progress.update(families, (missed == 0).tolist())

        step += 1
        tokens_seen += int((documents >= 0).sum())
        loss_sum, loss_count = loss_sum + loss.item(), loss_count + 1
        now = time.time()
        elapsed, last = elapsed + now - last, now
        if elapsed - reported > 30:
            print(f"{time.strftime('%H:%M:%S')} {elapsed / 60:.1f} min, step {step}, {tokens_seen / 1e6:.2f} M tokens, "
                  f"{loss_count / (elapsed - reported):.2f} steps/s, rate {rate:.3f}, loss {loss_sum / loss_count:.4f}, balance {balance.item():.3f}", flush=True)
            reported, loss_sum, loss_count = elapsed, 0.0, 0.0
        if elapsed - evaluated > args.every * 60:
            right, total, _, foreseen = evaluate(average, encoder, items, device, torch.bfloat16)
            print("held out:", report(right, total, foreseen), flush=True)
            print("training:", "  ".join(f"{f} {a:.0%}" for f, a in sorted(progress.accuracy.items())), flush=True)
            save()
            evaluated = elapsed
            last = time.time()  # evaluation is not training time
    save()
    print(f"trained {elapsed / 60:.1f} min, {step} steps, {tokens_seen / 1e6:.1f} M tokens")
    evaluate_checkpoint(args.out)


def evaluate_checkpoint(folder: Path, show_wrong: int = 0):
    """Accuracy of the exported bfloat16 weights, computed in float32."""
    model, t = checkpoint.load(folder)
    right, total, wrong, foreseen = evaluate(model, Encoder(t), load_items())
    for f in total:
        print(f"{f:12} {right[f]:4} / {total[f]:<4} {right[f] / total[f]:7.1%}")
    print(f"{'all':12} {sum(right.values()):4} / {sum(total.values()):<4} {sum(right.values()) / sum(total.values()):7.1%}")
    if foreseen is not None:
        print(f"the MTP layer foresees {foreseen:.1%} of the tokens behind the first of an answer")
    for item, said in wrong[:show_wrong]:
        print(f"{item['family']}: {item['messages'][-1]['content']!r} -> {said!r}, expected {item['answer']!r}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--v3", action="store_true", help="the V3 architecture instead of V2's")
    p.add_argument("--out", type=Path, default=HERE / "checkpoint", help="folder of the checkpoint")
    p.add_argument("--state", type=Path, default=Path("build/demo-train/state.pt"), help="training state; resumed when it exists")
    p.add_argument("--init", type=Path, metavar="CHECKPOINT", help="begin with these weights instead of random ones")
    p.add_argument("--rate", type=float, default=1, metavar="R", help="learning rate at the beginning; less to continue from --init")
    p.add_argument("--minutes", type=float, default=100, help="length of the whole training, which the schedule fits")
    p.add_argument("--every", type=float, default=6, help="minutes between evaluations and saves")
    p.add_argument("--tokens", type=int, default=4096, help="tokens per step")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--no-compile", dest="compile", action="store_false", help="skip torch.compile")
    p.add_argument("--evaluate", type=Path, metavar="CHECKPOINT", help="only print the accuracy of a checkpoint")
    p.add_argument("--show-wrong", type=int, default=0, metavar="N", help="with --evaluate: print N wrong answers")
    args = p.parse_args()
    if args.evaluate:
        evaluate_checkpoint(args.evaluate, args.show_wrong)
    else:
        train(args)


if __name__ == "__main__":
    main()
