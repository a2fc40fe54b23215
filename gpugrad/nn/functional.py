"""Functions that layers and losses are made of, under PyTorch's names (with `axis` for `dim`)."""

from __future__ import annotations

from typing import Any

from ..op import ArrayLike
from ..ops import activation, elementwise
from ..ops.activation import celu as celu
from ..ops.activation import elu as elu
from ..ops.activation import gelu as gelu
from ..ops.activation import glu as glu
from ..ops.activation import leaky_relu as leaky_relu
from ..ops.activation import log_softmax as log_softmax
from ..ops.activation import logsigmoid as logsigmoid
from ..ops.activation import maxout as maxout
from ..ops.activation import mish as mish
from ..ops.activation import relu as relu
from ..ops.activation import selu as selu
from ..ops.activation import sigmoid as sigmoid
from ..ops.activation import silu as silu
from ..ops.activation import softmax as softmax
from ..ops.activation import softmin as softmin
from ..ops.activation import softsign as softsign
from ..ops.activation import tanhshrink as tanhshrink
from ..ops.attention import scaled_dot_product_attention as scaled_dot_product_attention
from ..ops.convolution import conv1d as conv1d
from ..ops.convolution import conv2d as conv2d
from ..ops.convolution import conv_transpose1d as conv_transpose1d
from ..ops.convolution import conv_transpose2d as conv_transpose2d
from ..ops.distance import cosine_similarity as cosine_similarity
from ..ops.distance import normalize as normalize
from ..ops.distance import pairwise_distance as pairwise_distance
from ..ops.distance import pdist as pdist
from ..ops.dropout import bias_activation_dropout as bias_activation_dropout
from ..ops.dropout import dropout as dropout
from ..ops.dropout import dropout1d as dropout1d
from ..ops.dropout import dropout2d as dropout2d
from ..ops.elementwise import tanh as tanh
from ..ops.embedding import embedding as embedding
from ..ops.embedding import one_hot as one_hot
from ..ops.likelihood import cross_entropy as cross_entropy
from ..ops.likelihood import gaussian_nll_loss as gaussian_nll_loss
from ..ops.likelihood import kl_div as kl_div
from ..ops.likelihood import nll_loss as nll_loss
from ..ops.likelihood import poisson_nll_loss as poisson_nll_loss
from ..ops.linalg import linear as linear
from ..ops.loss import binary_cross_entropy as binary_cross_entropy
from ..ops.loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from ..ops.loss import hinge_loss as hinge_loss
from ..ops.loss import huber_loss as huber_loss
from ..ops.loss import l1_loss as l1_loss
from ..ops.loss import mse_loss as mse_loss
from ..ops.loss import multiclass_svm_loss as multiclass_svm_loss
from ..ops.loss import smooth_l1_loss as smooth_l1_loss
from ..ops.margin import cosine_embedding_loss as cosine_embedding_loss
from ..ops.margin import hinge_embedding_loss as hinge_embedding_loss
from ..ops.margin import margin_ranking_loss as margin_ranking_loss
from ..ops.margin import multi_margin_loss as multi_margin_loss
from ..ops.margin import multilabel_margin_loss as multilabel_margin_loss
from ..ops.margin import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from ..ops.margin import soft_margin_loss as soft_margin_loss
from ..ops.margin import triplet_margin_loss as triplet_margin_loss
from ..ops.normalization import batch_norm as batch_norm
from ..ops.normalization import group_norm as group_norm
from ..ops.normalization import instance_norm as instance_norm
from ..ops.normalization import layer_norm as layer_norm
from ..ops.normalization import local_response_norm as local_response_norm
from ..ops.normalization import rms_norm as rms_norm
from ..ops.piecewise import hardshrink as hardshrink
from ..ops.piecewise import hardsigmoid as hardsigmoid
from ..ops.piecewise import hardswish as hardswish
from ..ops.piecewise import hardtanh as hardtanh
from ..ops.piecewise import prelu as prelu
from ..ops.piecewise import relu6 as relu6
from ..ops.piecewise import rrelu as rrelu
from ..ops.piecewise import softshrink as softshrink
from ..ops.piecewise import threshold as threshold
from ..ops.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from ..ops.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from ..ops.pooling import adaptive_max_pool1d as adaptive_max_pool1d
from ..ops.pooling import adaptive_max_pool2d as adaptive_max_pool2d
from ..ops.pooling import avg_pool1d as avg_pool1d
from ..ops.pooling import avg_pool2d as avg_pool2d
from ..ops.pooling import lp_pool1d as lp_pool1d
from ..ops.pooling import lp_pool2d as lp_pool2d
from ..ops.pooling import max_pool1d as max_pool1d
from ..ops.pooling import max_pool2d as max_pool2d
from ..ops.products import bilinear as bilinear
from ..ops.resize import channel_shuffle as channel_shuffle
from ..ops.resize import interpolate as interpolate
from ..ops.resize import pixel_shuffle as pixel_shuffle
from ..ops.resize import pixel_unshuffle as pixel_unshuffle
from ..ops.unfold import fold as fold
from ..ops.unfold import unfold as unfold


def softplus(x: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * x)) / beta`` (`torch.nn.functional.softplus`); `threshold`, where PyTorch takes `x`, is not needed.

    >>> import gpugrad as gg
    >>> gg.nn.functional.softplus([0.0, 1000.0], beta=2.0)
    tensor([3.4657e-01, 1.0000e+03])
    """
    if isinstance(beta, int | float) and beta == 1:  # a tensor that is 1 now may be a parameter
        return activation.softplus(x)
    return activation.softplus(elementwise.multiply(x, beta)) / beta
