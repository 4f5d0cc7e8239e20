"""Source- and layer-wise distillation (arXiv 2509.18579): a textual teacher that is given the
transcript, and an acoustic teacher that protects the student's acoustic skill, both compared with
the student at several layers.

The textual teacher is a language model without audio, of any depth and width. The acoustic teacher
is the model before training, given ``references.view``, the clean clip by default. The response is
the gold answer. Source, by a digest, check each formula there.

This implementation differs from the digest, or decides what it leaves open, as follows [ours]:
1. The student's clips are noisy, as in every method here.
2. The text is the transcript, the caption of the sound, or both.
3. Hidden states become distributions by the logit lens of their own model: its final norm and head.
4. The layer map is ``layer_map.layer_map``; the acoustic term has the same layers of the student.
5. Every term is a mean over the tokens of a row, and the layers are added up.
6. The acoustic divergence is the Jensen-Shannon divergence by the logit lens as well.
"""

from collections.abc import Callable

import torch

from echodistill.core.errors import UserError
from echodistill.methods.base import (
    Batch,
    Context,
    Forward,
    LossTerms,
    Method,
    TeacherSpec,
    require,
)
from echodistill.methods.divergences import sequence_mean
from echodistill.methods.layer_map import layer_map, matched_layers
from echodistill.methods.logit_lens import common_jsd, token_mean
from echodistill.methods.supervised import cross_entropy
from echodistill.models.hidden_states import HiddenStates
from echodistill.params.methods import LayerwiseSettings

TEXT = "text_states"
"""Key of the score that ``annotate`` computes: the textual teacher's states along the responses,
(B, L_T, T, D_T).
"""
ACOUSTIC, ACOUSTIC_MASK = "acoustic_states", "acoustic_mask"
"""Keys of the acoustic teacher's states of the matched layers at its prompt, (B, layers, P, D), and
of the mask of the audio tokens there, (B, P) bool.
"""
Lens = Callable[[torch.Tensor], torch.Tensor]


class Layerwise(Method):
    def __init__(self, settings: LayerwiseSettings) -> None:
        self.settings: LayerwiseSettings = settings
        if settings.acoustic_weight > 0:
            self.teachers = (TeacherSpec(frozenset({"hidden_states"})),)

    @torch.no_grad()
    def annotate(self, batch: Batch, context: Context) -> None:
        """Set the gold answers as targets, and both teachers' hidden states."""
        batch.targets = context.gold(context.rows)
        ids, mask = batch.responses
        text = require(context.text_teacher).states(require(context.text_prompts), ids, mask)
        self._text_lens: Lens = text.lens
        batch.scores[TEXT] = torch.stack(text.response, dim=1)
        if self.settings.acoustic_weight > 0:
            prompts = require(context.teacher_prompts)
            acoustic = context.teacher.states(prompts, ids, mask)
            self._acoustic_lens: Lens = acoustic.lens
            layers = matched_layers(len(acoustic.prompt), self.settings.layer_step)
            matched = [acoustic.prompt[layer - 1] for layer in layers]
            batch.scores[ACOUSTIC] = torch.stack(matched, dim=1)
            batch.scores[ACOUSTIC_MASK] = acoustic.audio_mask

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        """Return ``L_top + λ_layer·L_layer + λ_ac·L_ac + λ_SFT·L_SFT``, means over the rows."""
        settings = self.settings
        ids, mask = batch.responses
        states = student.states(batch.prompts, ids, mask)
        text, logits = batch.scores[TEXT], states.lens(states.response[-1])
        top = sequence_mean(common_jsd(self._text_lens(text[:, -1]), logits), mask)
        answer = cross_entropy(logits, ids, mask)
        metrics = {"top_divergence": top.mean(), "cross_entropy": answer.mean()}
        total = top + settings.answer_weight * answer
        if settings.layer_weight > 0:
            layers = self._layer_divergence(text, states, mask)
            metrics["layer_divergence"] = layers.mean()
            total = total + settings.layer_weight * layers
        if settings.acoustic_weight > 0:
            acoustic = self._acoustic_divergence(batch, states)
            metrics["acoustic_divergence"] = acoustic.mean()
            total = total + settings.acoustic_weight * acoustic
        return LossTerms(total.mean(), metrics)

    def _layer_divergence(
        self, text: torch.Tensor, states: HiddenStates, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the divergence from the textual teacher of each row, summed over the matched
        layers, (B,).
        """
        total = text.new_zeros(len(text), dtype=torch.float32)
        pairs = layer_map(len(states.response), text.shape[1], self.settings.layer_step)
        for layer, teacher_layer in pairs.items():
            teacher = self._text_lens(text[:, teacher_layer - 1])
            student = states.lens(states.response[layer - 1])
            total = total + sequence_mean(common_jsd(teacher, student), mask)
        return total

    def _acoustic_divergence(self, batch: Batch, states: HiddenStates) -> torch.Tensor:
        """Return the divergence from the acoustic teacher at the audio tokens of each row, summed
        over the matched layers, (B,).

        Audio tokens are matched by their order. Raise ``UserError`` where the two prompts of a row
        have different numbers of them.
        """
        before, own = batch.scores[ACOUSTIC_MASK], states.audio_mask
        if not torch.equal(before.sum(dim=1), own.sum(dim=1)):
            raise UserError(
                "references.view: the teacher's clip is not as long as the student's, so their"
                " audio tokens cannot be compared: choose clean, noise or silence, or set"
                " train.methods.layerwise.acoustic_weight to 0"
            )
        total = own.new_zeros(len(own), dtype=torch.float32)
        layers = matched_layers(len(states.prompt), self.settings.layer_step)
        for number, layer in enumerate(layers):
            teacher = self._acoustic_lens(batch.scores[ACOUSTIC][:, number][before])
            student = states.lens(states.prompt[layer - 1][own])
            total = total + token_mean(common_jsd(teacher, student), own)
        return total


METHOD = Layerwise
