"""Train the small LLaVA: projector and language model on the frozen CLIP tower, on Scenes.

All questions of a picture share one sequence. A mask lets each see the picture and itself alone,
and positions start again after the picture, so that each question is trained exactly as it will be
asked, while the picture's tokens are computed once:

    <s> <image> x 256 | how many cars ? : 3 </s> | is there a dog ? : no </s> | ...
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from scenes import TASKS, Question, Scene, ask
from shared.nets.precision import mixed_precision
from training.loop.runner import Runner, RunOptions, add_runner_arguments, load_checkpoint
from training.loop.square import DEVIATION, MEAN, PATCH, SIDE, normalise, pixels
from training.loop.world import Objects, Sample, SceneStream, add_world_argument
from training.small_models.clip import CLASSES, DENSITY, ClipWithHeads, load_clip
from training.small_models.conversion import convert_tower
from training.small_models.counting import freeze_counting, start_counting
from training.small_models.grounding import PATCH_LABELS, Grounding
from training.small_models.tokenizer import IMAGE, START, build_tokenizer

QUESTIONS = 26  # of one picture in one sequence; its 257 tokens cost as much as they do
ROUNDS = 3
HARD_TASKS = ("count", "number", "print", "position", "relation")
HARD_WEIGHT = 2.5  # how much more likely a question of a hard task is kept than another
SIGNS_SHARE = 4  # one picture in so many is signs alone
IMAGE_TOKENS = (SIDE // PATCH) ** 2
PREFIX = 1 + IMAGE_TOKENS
VALIDATION_PICTURES = 60
GROUNDING_WEIGHT = 0.3
OUTPUT_DEVIATION = 0.1
UNSEEN = np.float32(-1e4)
ROPE_THETA = 500_000.0  # slow enough for a word to match a patch wherever it is among 256
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<s>' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image> ' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ ' :' }}{% else %}{{ ' ' + message['content'][0]['text'] + '</s>' }}"
    "{% endif %}{% endfor %}"
)


def build_llava(clip: ClipWithHeads, tokenizer: PreTrainedTokenizerFast) -> Any:
    """`LlavaForConditionalGeneration` around the tower of `clip`, the rest at its start."""
    tower = convert_tower(clip.clip.visual)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
    )
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    set_tower(model, clip)
    model.model.vision_tower.requires_grad_(False)
    return model


def set_tower(model: Any, clip: ClipWithHeads) -> None:
    """Give a model the vision tower of `clip`, or of what it has become since."""
    model.model.vision_tower.load_state_dict(convert_tower(clip.clip.visual).state_dict())


@torch.no_grad()
def start_projector(model: Any, clip: ClipWithHeads, samples: list[Sample]) -> None:
    """A projector whose outputs have the size of word embeddings and no common part.

    The tower's tokens share a large constant vector; left in, it makes up nine tenths of what the
    language model sees of each patch. The first rows are the dense heads, the rest random, all on
    tokens whose channels are centred and scaled; outputs are centred and scaled likewise.
    """
    tokens = tower_tokens(model, samples)
    first, second = (getattr(model.model.multi_modal_projector, f"linear_{i}") for i in (1, 2))
    rows = torch.randn_like(first.weight) / first.in_features**0.5
    rows = rows / tokens.std(dim=0)
    heads = torch.cat([clip.heads[name].get_parameter("weight") for name in CLASSES])
    heads = heads * clip.clip.visual.ln_post.weight
    rows[: len(heads)] = heads - heads.mean(dim=1, keepdim=True)
    _centre(first, rows, tokens, 1.0)
    hidden = F.gelu(first(tokens))
    _centre(second, torch.randn_like(second.weight), hidden, OUTPUT_DEVIATION)


@torch.no_grad()
def tower_tokens(model: Any, samples: list[Sample]) -> Tensor:
    """Patch tokens [B * N, width] that the projector is given."""
    picture = normalise(pixels(samples)).to(next(model.parameters()).device)
    tokens: Tensor = model.model.vision_tower(picture).last_hidden_state[:, 1:].flatten(0, 1)
    return tokens


@torch.no_grad()
def _centre(layer: nn.Linear, rows: Tensor, inputs: Tensor, deviation: float) -> None:
    """Set a layer to `rows`, each output of mean 0 and the given deviation over `inputs`."""
    out = inputs @ rows.T
    scale = deviation / out.std(dim=0)
    layer.weight.copy_(rows * scale[:, None])
    layer.bias.copy_(-out.mean(dim=0) * scale)


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The processor, saved beside the model, so that transformers loads it like any LLaVA."""
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size={"height": SIDE, "width": SIDE},
            image_mean=list(MEAN),
            image_std=list(DEVIATION),
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )


def more_questions(scene: Scene, chance: np.random.Generator) -> list[Question]:
    """Questions about a scene out of some rounds of them, hard ones more often."""
    size = (scene.picture.shape[1], scene.picture.shape[0])
    every = list(scene.questions)
    for _ in range(ROUNDS - 1):
        every += ask(chance, scene.objects, scene.category, size)
    weight = np.array([HARD_WEIGHT if q.task in HARD_TASKS else 1.0 for q in every])
    kept = min(QUESTIONS, len(every))
    return [every[i] for i in chance.choice(len(every), kept, False, weight / weight.sum())]


class Sequences:
    """Turns questions of pictures into token ids, mask, positions and labels."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        image = tokenizer.convert_tokens_to_ids(IMAGE)
        self.prefix = [tokenizer.convert_tokens_to_ids(START)] + [image] * IMAGE_TOKENS

    def __call__(self, questions: list[list[Question]]) -> dict[str, Tensor]:
        """ids, position_ids, labels i64 [B, T]; attention_mask f32 [B, 1, T, T], to be added."""
        rows = [self._row(group) for group in questions]
        length = max(len(ids) for ids, _, _ in rows)
        shape = (len(rows), length)
        ids = np.full(shape, self.tokenizer.pad_token_id)
        block = np.full(shape, -1)
        labels = np.full(shape, -100)
        for i, (row_ids, row_block, row_labels) in enumerate(rows):
            ids[i, : len(row_ids)] = row_ids
            block[i, : len(row_ids)] = row_block
            labels[i, : len(row_ids)] = row_labels
        positions = np.arange(length)[None] - np.where(block > 0, _starts(block) - PREFIX, 0)
        same = (block[:, :, None] == block[:, None, :]) | (block[:, None, :] == 0)
        mask = same & np.tri(length, dtype=bool)[None]
        return {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(positions),
            "labels": torch.from_numpy(labels),
            "attention_mask": torch.from_numpy(np.where(mask, np.float32(0), UNSEEN)).unsqueeze(1),
        }

    def _row(self, questions: list[Question]) -> tuple[list[int], list[int], list[int]]:
        ids, block, labels = list(self.prefix), [0] * PREFIX, [-100] * PREFIX
        for number, question in enumerate(questions, start=1):
            asked = self.tokenizer(f"{question.prompt} :").input_ids
            answer = self.tokenizer(question.answer).input_ids + [self.tokenizer.eos_token_id]
            ids += asked + answer
            block += [number] * (len(asked) + len(answer))
            labels += [-100] * len(asked) + answer
        return ids, block, labels


def _starts(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each place the index at which its block starts."""
    change = np.diff(block, axis=1, prepend=-2) != 0
    places = np.where(change, np.arange(block.shape[1])[None], 0)
    return np.maximum.accumulate(places, axis=1)


def right_answers(logits: Tensor, labels: Tensor) -> list[list[bool]]:
    """Whether each question's answer is right in every token, given the right tokens before."""
    predicted = logits[:, :-1].argmax(-1)
    wanted = labels[:, 1:]
    results = []
    for row in range(len(wanted)):
        # Prompts have no labels, so each run of labels is one answer.
        places = (wanted[row] != -100).nonzero().flatten()
        hits = (predicted[row] == wanted[row])[places]
        ends = (places.diff() > 1).nonzero().flatten() + 1
        results.append([bool(part.all()) for part in torch.tensor_split(hits, ends.tolist())])
    return results


@torch.no_grad()
def validate(model: Any, samples: list[Sample], sequences: Sequences) -> dict[str, float]:
    """Share of right answers by task on held-out scenes."""
    right: dict[str, list[bool]] = {task: [] for task in TASKS}
    device = next(model.parameters()).device
    for start in range(0, len(samples), 20):
        part = samples[start : start + 20]
        questions = [list(s.scene.questions) for s in part]
        batch = {k: v.to(device) for k, v in sequences(questions).items()}
        labels = batch.pop("labels")
        logits = model(pixel_values=normalise(pixels(part)).to(device), **batch).logits
        hits_of_each = right_answers(logits, labels)
        for group, hits in zip(questions, hits_of_each, strict=True):
            for question, hit in zip(group, hits, strict=True):
                right[question.task].append(hit)
    return {task: sum(hits) / max(1, len(hits)) for task, hits in right.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    add_world_argument(parser)
    parser.add_argument("--clip", type=Path, required=True, help="folder of the clip run")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged model."""
    options = RunOptions.of(arguments)
    clip = load_clip(arguments.clip)
    tokenizer = build_tokenizer()
    sequences = Sequences(tokenizer)
    torch.manual_seed(options.seed)
    model = build_llava(clip, tokenizer)
    held_out = SceneStream("val", options.data).batch(VALIDATION_PICTURES)
    start_projector(model, clip, held_out)
    grounding = Grounding(tokenizer)
    model.set_attn_implementation("eager")  # which shows its attention
    runner = Runner(options, model, arguments.rate)
    set_tower(model, clip)  # not that of the run to start with
    if not options.resume:
        tokens = tower_tokens(model, held_out)
        start_counting(model, tokenizer, clip.heads[DENSITY], tokens)
    freeze_counting(model)
    # The tower has seen the first scenes of the split many times; start where it has not been.
    start = runner.next_scene(10_000_000, arguments.batch)
    stream = SceneStream("train", options.data, start, arguments.worlds)
    signs = SceneStream("train-signs", options.data, start, arguments.worlds)
    chance = np.random.default_rng((options.seed, runner.steps_ever))

    def loss_of_step(model: nn.Module, step: int) -> dict[str, Tensor]:
        few = arguments.batch // SIGNS_SHARE
        samples = stream.batch(arguments.batch - few) + signs.batch(few)
        samples = [s for s in samples if s.scene.questions]
        questions = [more_questions(s.scene, chance) for s in samples]
        batch = {k: v.to(options.device) for k, v in sequences(questions).items()}
        labels = batch.pop("labels")
        with mixed_precision(options.device):
            out = model(
                pixel_values=normalise(pixels(samples)).to(options.device),
                **batch,
                output_attentions=True,
                output_hidden_states=True,
            )
            stacked = {n: np.stack([s.labels[n].ravel() for s in samples]) for n in PATCH_LABELS}
            patches = {n: torch.from_numpy(v).to(options.device) for n, v in stacked.items()}
            objects = Objects.of(samples).to(options.device)
            grounded = grounding.loss(
                batch["input_ids"], patches, objects, out.attentions, out.hidden_states
            )
        wanted = labels[:, 1:] != -100
        answer = F.cross_entropy(out.logits[:, :-1][wanted].float(), labels[:, 1:][wanted])
        return {"loss": answer + GROUNDING_WEIGHT * grounded, "answer": answer, "ground": grounded}

    runner.run(loss_of_step, lambda model: validate(model, held_out, sequences), {})


def load_llava(run: Path, clip_run: Path) -> Any:
    """The averaged model of a run, in evaluation mode."""
    model = build_llava(load_clip(clip_run), build_tokenizer())
    model.load_state_dict(load_checkpoint(run)["average"])
    return model.eval()
