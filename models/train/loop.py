"""Training to a deadline on one or several GPUs, whatever the network."""

import copy
import math
import os
import sys
import time

import torch
import torch.distributed as dist

from optimiser import Average, Optimiser

DROPPED_CAPTIONS = 0.1


def add_arguments(parser):
    """What every such program understands."""
    for name in ("--tokenizer", "--out", "--deadline-file"):
        parser.add_argument(name, required=True)
    parser.add_argument("--text", help="text encoders from pretrain_text.py")
    parser.add_argument("--bank", help="latents encoded beforehand; {rank} is replaced")
    parser.add_argument("--guided", type=float, default=0.70, help="progress at which guidance is learned")
    parser.add_argument("--hold", type=float, default=0.55, help="progress at which the rate begins to fall")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--attention", choices=("flash", "cudnn"), default="flash")
    parser.add_argument("--max-steps", type=int, help="walk through all phases in this many steps")


class Training:
    """One run. A subclass says what there is to train and what a step is.

    The deadline (seconds since the epoch, in a file that may be edited while
    the program runs) fixes the whole plan: subclasses map progress in 0..1
    to a phase, and the learning rate falls to zero at the end.
    """

    modules = ()  # names of the networks in `self.models`, the transformer first
    blocks = ()  # classes whose forward is compiled
    teacher_seconds = math.inf  # how long a teacher of guidance serves before it is renewed

    def __init__(self, args):
        self.args = args
        self.ranks = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        cuda = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if cuda else "cpu")
        if cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            # Fused cuDNN attention is a suspect of an earlier run's NaN; use it
            # only where it was compared with the flash kernel first.
            torch.backends.cuda.enable_cudnn_sdp(args.attention == "cudnn")
            if args.attention == "cudnn":
                torch.backends.cuda.enable_flash_sdp(False)
        if self.ranks > 1:
            dist.init_process_group("nccl" if cuda else "gloo")
        os.makedirs(args.out, exist_ok=True)
        self.began = time.time()
        torch.manual_seed(1000 + self.rank)
        self.steps, self.samples = 0, {}
        self.build()

    # ------------------------------------------------- a subclass's part

    def build(self):
        """Load what the steps need, then call `prepare`."""
        raise NotImplementedError

    def phase(self, progress):
        """The key of the phase the next step belongs to."""
        raise NotImplementedError

    def batch(self, phase):
        """Samples a GPU and step."""
        raise NotImplementedError

    def step(self, phase, guided, factor):
        """One update; returns (loss, gradient norm)."""
        raise NotImplementedError

    # ---------------------------------------------------------- the rest

    def log(self, *words):
        if self.rank == 0:
            print(f"[{time.time() - self.began:7.1f}]", *words, flush=True)

    def prepare(self, models):
        """Initialise, load pre-trained text encoders, make teacher, optimiser and average."""
        self.models = models
        torch.manual_seed(0)
        for model in models.values():
            model.initialise()
        if self.args.text:
            text = torch.load(self.args.text, map_location="cpu")
            for name in self.modules[1:]:
                models[name].load_state_dict(text[name])
        torch.manual_seed(1000 + self.rank)
        for model in models.values():
            model.to(self.device).train()
        self.teacher = {k: copy.deepcopy(m).eval().requires_grad_(False) for k, m in models.items()}
        self.optimiser = Optimiser(models[self.modules[0]], [models[name] for name in self.modules[1:]])
        self.average = Average(self.weights(models))
        if self.args.resume:
            state = self.load_state(self.args.resume)
            # averaged.pt alone is enough; state.pt also keeps what the optimiser knew.
            for name, model in models.items():
                full = "models" in state
                model.load_state_dict(state["models" if full else "averaged"][name])
            stored = state.get("average") or [p.detach() for p in self.weights(models)]
            for value, source in zip(self.average.values, stored):
                value.copy_(source)
            self.average.steps = state["steps"]
            if "optimiser" in state:
                self.optimiser.load(state["optimiser"])
            self.samples = state["samples"]
            self.log("resumed after", state["steps"], "steps")
        if self.args.compile:
            torch._dynamo.config.recompile_limit = 64
            torch._dynamo.config.cache_size_limit = 64
            for block in self.blocks:
                block.forward = torch.compile(block.forward, dynamic=False)

    def load_state(self, path):
        return torch.load(path, map_location="cpu")

    def weights(self, models):
        return [p for name in self.modules for p in models[name].parameters()]

    def sum_gradients(self, flat):
        dist.all_reduce(flat)
        flat /= self.ranks

    def update(self, losses, factor, phase):
        """Backward and optimiser step for the losses of a batch; returns the gradient norm."""
        losses.mean().backward()
        norm = self.optimiser.step(factor, self.sum_gradients if self.ranks > 1 else None)
        self.average.update()
        self.steps += 1
        self.samples[phase] = self.samples.get(phase, 0) + self.batch(phase) * self.ranks
        return norm

    def share(self, values):
        """Rank 0's numbers on every rank."""
        t = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.ranks > 1:
            dist.broadcast(t, 0)
        return t.tolist()

    def deadline(self):
        with open(self.args.deadline_file) as file:
            return float(file.read())

    def progress(self, began):
        if self.args.max_steps:
            return self.steps / self.args.max_steps
        now = time.time()
        return (now - began) / max(1.0, self.deadline() - began)

    def rate(self, progress):
        warm = min(1.0, (self.steps + 1) / 150)
        hold = self.args.hold
        fall = 1.0 if progress < hold else max(0.0, 1 - (progress - hold) / (1 - hold))
        return warm * (0.01 + 0.99 * fall)

    def save(self, name, full):
        """`full` keeps what resuming needs; otherwise only the averaged weights."""
        averaged, values = {}, iter(self.average.values)
        for module in self.modules:
            averaged[module] = {n: next(values).bfloat16().cpu() for n, _ in self.models[module].named_parameters()}
        state = {"averaged": averaged, "steps": self.steps, "samples": self.samples}
        if full:
            state["models"] = {n: m.state_dict() for n, m in self.models.items()}
            state["average"] = self.average.values
            state["optimiser"] = self.optimiser.state()
        path = f"{self.args.out}/{name}"
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)

    def train(self):
        began = time.time()
        last_log = last_save = last_teacher = time.time()
        bad, count, half_done, teaching = 0, 0, False, False
        history = []
        progress = 0.0
        while True:
            if self.steps % 10 == 0 or self.args.max_steps:
                progress, = self.share([self.progress(began)])
            if progress >= 1:
                break
            guided = progress >= self.args.guided
            if guided and (not teaching or time.time() - last_teacher > self.teacher_seconds):
                # Each rank has the same averages, so each may refresh on its own clock.
                self.average.copy_to(self.weights(self.teacher))
                teaching, last_teacher = True, time.time()
            phase = self.phase(progress)
            if phase not in self.samples:
                self.log(f"--- {phase} begins at progress {progress:.3f}")
            loss, norm = self.step(phase, guided, self.rate(progress))
            count += self.batch(phase) * self.ranks
            history.append((phase, loss, norm))
            if len(history) >= 50 or self.steps in (1, 2, 3, 5, 10, 20):
                numbers = torch.stack([torch.stack((l, n.float())) for _, l, n in history]).tolist()
                bad += sum(not all(map(math.isfinite, pair)) for pair in numbers)
                by_phase = {}
                for (key, _, _), pair in zip(history, numbers):
                    by_phase.setdefault(key, []).append(pair[0])
                words = " ".join(f"{key}: {sum(v) / len(v):.4f}" for key, v in sorted(by_phase.items()))
                memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0
                self.log(f"step {self.steps} progress {progress:.3f} {'guided ' if guided else ''}loss {words} "
                         f"norm {numbers[-1][1]:.3f} {count / (time.time() - last_log):.0f} samples/s "
                         f"{memory:.0f} GiB{f' not finite: {bad}' if bad else ''}")
                if bad > 40:
                    self.log("too many steps that are not finite")
                    sys.exit(3)
                last_log, count, history = time.time(), 0, []
            if self.rank == 0:
                if progress >= 0.5 and not half_done:
                    half_done = True
                    self.save("half.pt", full=False)
                if time.time() - last_save > 200:
                    self.save("state.pt", full=True)
                    last_save = time.time()
        self.log(f"trained {self.steps} steps in {time.time() - began:.0f} s, samples {self.samples}")
        if self.rank == 0:
            self.save("averaged.pt", full=False)
            self.save("state.pt", full=True)
            self.log("weights saved")
        if self.ranks > 1:
            dist.barrier()
            dist.destroy_process_group()
