"""Teach words where to look: attention from the words of a question to the patches that show them.

A small language model needs many thousand steps before a word finds its patches by the loss of the
answers alone; here the truth is known. Of some heads, attention among the patches and the first
token (a sink that says nothing) is asked to be:

    layers 1, 2, head 0   word of a kind or colour   on its patches; on the sink if there are none
    layers 3, 4, head 0   place before a character   on the patch that shows that character there
    layers 3, 4, heads 1, 2   end of a question      on its last, and on its first word of a kind
    layers 3, 4, head 3       end of a question      on its first word of a direction ("left")

    before layer 1, `CHANNELS`     patch              objects of each kind and colour on it, to be
                                                     added up by head 1 (module `counting`)
    after layer 2, channels 0, 1   word of a kind     row and column of its patches, from -1 to 1,
                                                     where there is one such object
    after layer 2, channel 2       word of a kind     half of their number, less 1, which
                                                     module `counting` begins with
    after layer 3, channels 0, 1   end of a question  places of its first less its last such word
    after layer 3, channel 2       end of a question  how far the first lies in that direction of
                                                     the last, twice, from -1 to 1

A kind that follows a colour ("red cars") means those of that colour from layer 2 on, when the word
can know what stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from training.loop.world import Objects
from training.small_models.counting import densities
from training.small_models.density import density_loss
from training.small_models.tokenizer import WORDS_OF

WORD_LAYERS: Final = 2
READING_WEIGHT: Final = 4.0
DENSITY_WEIGHT: Final = 0.3
DIRECTIONS: Final = {"left": (0, -1), "right": (0, 1), "above": (-1, 0), "below": (1, 0)}
"""Which way rows and columns grow."""
PATCH_LABELS: Final = ("kind", "colour", "character", "place", "second")


class Grounding:
    """What a Llama of four layers is taught beside its answers; `loss` follows a forward pass."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._class_of = {name: torch.zeros(len(tokenizer), dtype=torch.long) for name in WORDS_OF}
        for name, words in WORDS_OF.items():
            for number, forms in enumerate(words, start=1):
                self._class_of[name][tokenizer.convert_tokens_to_ids(forms)] = number
        self._way_of = torch.zeros(len(tokenizer), 2)
        for word, way in DIRECTIONS.items():
            self._way_of[tokenizer.convert_tokens_to_ids(word)] = torch.tensor(way).float()
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._goes_on = torch.tensor([piece.startswith("##") for piece in pieces])
        self._asked = tokenizer.convert_tokens_to_ids(":")
        self._end = tokenizer.eos_token_id

    def loss(
        self,
        ids: Tensor,
        patches: dict[str, Tensor],
        objects: Objects,
        attentions: Sequence[Tensor],
        states: Sequence[Tensor],
    ) -> Tensor:
        """Mean cross-entropy over heads and words, and error of the patches' densities.

        ids [B, T], patches i64 [B, N] by name; attentions f32 [B, 4, T, T] of each layer, states
        f32 [B, T, D] before the first layer and after each, as the model gives them where it is
        asked for `output_attentions` and `output_hidden_states` (by eager attention).
        """
        losses = []
        for number, attention in enumerate(attentions):
            first, second, third, fourth = attention.unbind(dim=1)
            if number < WORD_LAYERS:
                losses.append(self._objects(first, ids, patches, number > 0))
                losses.append(self._colours(first, ids, patches))
            else:
                losses.append(self._characters(first, ids, patches))
                row, end, last, start = self._nouns(ids)
                way, has_way = self._direction(ids, row, end)
                for head, place in ((second, last), (third, start)):
                    losses.append(_unlikely(head[row, end, place]))
                losses.append(_unlikely(fourth[row, end, way])[has_way])
        losses += self._readings(states[WORD_LAYERS], states[WORD_LAYERS + 1], ids, objects)
        density = densities(states[0][:, 1 : 1 + objects.shares.shape[2]])
        return torch.cat(losses).mean() + DENSITY_WEIGHT * density_loss(density, objects.density())

    def _objects(
        self, attention: Tensor, ids: Tensor, patches: dict[str, Tensor], bound: bool
    ) -> Tensor:
        row, place, wanted = self._meant(ids, patches["kind"], patches["colour"], bound)
        sink = ~wanted.any(dim=1, keepdim=True)
        return _missed(_shares(attention, row, place, wanted), torch.cat([sink, wanted], dim=1))

    def _colours(self, attention: Tensor, ids: Tensor, patches: dict[str, Tensor]) -> Tensor:
        word = self._class_of["colour"].to(ids.device)[ids]
        row, place = (word > 0).nonzero(as_tuple=True)
        wanted = patches["colour"][row] == word[row, place, None]
        sink = ~wanted.any(dim=1, keepdim=True)
        return _missed(_shares(attention, row, place, wanted), torch.cat([sink, wanted], dim=1))

    def _readings(self, words: Tensor, ends: Tensor, ids: Tensor, objects: Objects) -> list[Tensor]:
        """Errors of the first channels at words of a kind and at the ends of questions."""
        row, place, share = self._densities(ids, objects, True)
        number = share.sum(dim=1, keepdim=True).round()
        alone = number[:, 0] == 1
        share = share[alone]
        side = round(share.shape[1] ** 0.5)
        axis = torch.linspace(-1.0, 1.0, side, device=ids.device)
        where = torch.stack([axis.repeat_interleave(side), axis.repeat(side)], dim=1)
        middle = (share.unsqueeze(2) * where).sum(dim=1)
        channels = words[row, place, :3].float()
        errors = [channels[alone, :2] - middle, channels[:, 2:] - number / 2 + 1]
        middles = torch.full((*ids.shape, 2), torch.nan, device=ids.device)
        middles[row[alone], place[alone]] = middle
        row, asked, last, first = self._nouns(ids)
        apart = middles[row, first] - middles[row, last]
        known = apart.isfinite().all(dim=1) & (first != last)
        errors.append(ends[row[known], asked[known], :2].float() - apart[known])
        way, there = self._direction(ids, row, asked)
        far = (self._way_of.to(ids.device)[ids[row, way]] * apart).sum(dim=1, keepdim=True)
        known &= there
        target = (2.0 * far[known]).clamp(-1.0, 1.0)
        errors.append(ends[row[known], asked[known], 2:3].float() - target)
        return [READING_WEIGHT * error.square().sum(dim=1) for error in errors]

    def _meant(
        self, ids: Tensor, kind: Tensor, colour: Tensor, bound: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Row and place of each word of a kind, and [words, N] which of its picture's N patches or
        objects, of labels kind and colour [B, N], it means."""
        word = self._class_of["kind"].to(ids.device)[ids]
        row, place = (word > 0).nonzero(as_tuple=True)
        wanted = kind[row] == word[row, place, None]
        if bound:
            before = self._class_of["colour"].to(ids.device)[ids[row, place - 1]].unsqueeze(1)
            wanted &= (before == 0) | (colour[row] == before)
        return row, place, wanted

    def _densities(
        self, ids: Tensor, objects: Objects, bound: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Row and place of each word of a kind, and how much [words, N] of what it means a patch
        shows."""
        row, place, meant = self._meant(ids, objects.kind, objects.colour, bound)
        return row, place, (meant.unsqueeze(2) * objects.shares[row]).sum(dim=1)

    def _nouns(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Row and place of each question's end, and places of its last and first word of a kind."""
        begin, last, first = self._ends_of(ids, self._class_of["kind"].to(ids.device)[ids] > 0)
        row, asked = ((ids == self._asked) & (last > begin)).nonzero(as_tuple=True)
        return row, asked, last[row, asked], first[row, asked]

    def _direction(self, ids: Tensor, row: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Place of the first word of a direction in these questions, and whether there is one."""
        shown = self._way_of.to(ids.device)[ids].any(dim=-1)
        begin, _, first = self._ends_of(ids, shown)
        place = first[row, asked]
        return place, place > begin[row, asked]

    def _ends_of(self, ids: Tensor, marked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Up to each place: where its question begins, and its last and first marked word."""
        number = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        begin = torch.where(ids == self._end, number, 0).cummax(dim=1).values
        last = torch.where(marked, number, 0).cummax(dim=1).values
        # The first word is the one that has none between itself and the last end.
        before = nn.functional.pad(last[:, :-1], (1, 0))
        first = torch.where(marked & (before <= begin), number, 0).cummax(dim=1).values
        return begin, last, first

    def _characters(self, attention: Tensor, ids: Tensor, patches: dict[str, Tensor]) -> Tensor:
        goes_on = self._goes_on.to(ids.device)[ids]
        number = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        first = torch.where(goes_on, 0, number).cummax(dim=1).values
        # Numbers and words on signs have two characters or more; counts have one.
        printed = goes_on | nn.functional.pad(goes_on[:, 1:], (0, 1))
        character = self._class_of["character"].to(ids.device)[ids]
        row, at = (printed & (character > 0)).nonzero(as_tuple=True)
        character = character[row, at, None]
        place = (number - first + 1)[row, at, None]
        shown = (patches["character"][row] == character) & (patches["place"][row] == place)
        beside = (patches["second"][row] == character) & (patches["place"][row] == place - 1)
        wanted = shown | beside
        there = wanted.any(dim=1)
        share = _shares(attention, row[there], at[there] - 1, wanted)
        return _missed(share[:, 1:], wanted[there])


def _shares(attention: Tensor, row: Tensor, place: Tensor, patches: Tensor) -> Tensor:
    """Shares [words, 1 + N] of the first token and the N patches that follow it."""
    weights = attention[row, place, : 1 + patches.shape[1]].float()
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-6)


def _missed(share: Tensor, wanted: Tensor) -> Tensor:
    """Negative logarithm of the share of attention [words, N] that falls where it is wanted."""
    return _unlikely((share * wanted).sum(dim=1))


def _unlikely(share: Tensor) -> Tensor:
    """Negative logarithm of shares, none of which costs without end."""
    return -(share.float() + 1e-4).log()
