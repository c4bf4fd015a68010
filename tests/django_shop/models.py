from __future__ import annotations

from django.db import models


class Order(models.Model):
    number = models.CharField(max_length=32, unique=True)
    total_fee = models.IntegerField(default=100)
    shipped = models.IntegerField(default=0)


class Effect(models.Model):
    """That a key had its effect, for the conformance suite."""

    natural_key = models.CharField(max_length=255)
